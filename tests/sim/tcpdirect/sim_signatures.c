/* Lets the compiler check that the simulator's functions have the signatures of libraries/zf.h. */
#define _GNU_SOURCE
#include "sim.h"

#define DECLARE(result, name, arguments) SIM_API result name arguments;
SF_ZF_FUNCTIONS(DECLARE)
#define PLACE(result, name, arguments) .name = name,

const struct sf_zf sim_table;
const struct sf_zf sim_table = {SF_ZF_FUNCTIONS(PLACE)};
