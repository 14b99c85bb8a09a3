/* That the functions here are those which libraries/zf.h declares. */
#define _GNU_SOURCE
#include "sim.h"

#define DECLARE(result, name, arguments) SIM_API result name arguments;
SF_ZF_FUNCTIONS(DECLARE)
#define PLACE(result, name, arguments) .name = name,

const struct sf_zf sim_table;
const struct sf_zf sim_table = {SF_ZF_FUNCTIONS(PLACE)};
