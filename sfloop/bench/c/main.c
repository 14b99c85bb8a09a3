/* sfbench has the load generators and the reference servers of `sfloop bench`, with a command for each. */
#include "common.h"

#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

static const struct {
    const char *name;
    int (*run)(const struct sfb_options *o);
} commands[] = {
    {"tcp", sfb_load_tcp},           {"udp", sfb_load_udp},           {"http", sfb_load_http},
    {"tls", sfb_load_tls},           {"tls-handshakes", sfb_load_tls_handshakes},
    {"tls-source", sfb_load_tls_source}, {"ws", sfb_load_ws},
    {"tls-idle", sfb_load_tls_idle}, {"serve-tls", sfb_serve_tls},    {"tls-records", sfb_tls_records},
    {"flood", sfb_load_flood},       {"idle", sfb_load_idle},
    {"feed", sfb_load_feed},         {"serve-tcp", sfb_serve_tcp},    {"serve-udp", sfb_serve_udp},
    {"serve-flood", sfb_serve_flood}, {"serve-xdp", sfb_serve_xdp},
    {"spin-tcp", sfb_spin_tcp},       {"spin-udp", sfb_spin_udp},     {"relay", sfb_relay},
    {"spin-sink", sfb_spin_sink},     {"replay", sfb_load_replay},
    {"zf-udp", sfb_zf_udp},           {"zf-tcp", sfb_zf_tcp},         {"zf-idle", sfb_zf_idle},
};

static double number(const char *name, const char *text, double low, double high)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end || value < low || value > high)
        sfb_die(SFB_EXIT_USAGE, "--%s is \"%s\"; a number from %g to %g is needed", name, text, low, high);
    return value;
}

static struct sfb_options parse(int argc, char **argv)
{
    static const struct option options[] = {
        {"host", 1, 0, 'h'},    {"port", 1, 0, 'p'},     {"connections", 1, 0, 'n'}, {"size", 1, 0, 's'},
        {"burst", 1, 0, 'b'},   {"seconds", 1, 0, 't'},  {"warmup", 1, 0, 'w'},      {"messages", 1, 0, 'm'},
        {"rate", 1, 0, 'r'},    {"timeout", 1, 0, 'o'},  {"cpu", 1, 0, 'c'},         {"spin", 0, 0, 'S'},
        {"path", 1, 0, 'P'},    {"ca", 1, 0, 'C'},       {"interface", 1, 0, 'i'},   {"group", 1, 0, 'g'},
        {"certificate", 1, 0, 'T'},
        {"second", 1, 0, '2'},  {"delay", 1, 0, 'd'},    {"loss", 1, 0, 'l'},
        {0, 0, 0, 0},
    };
    struct sfb_options o = {.host = "127.0.0.1", .connections = 1, .size = 64, .burst = 1, .seconds = 1,
                            .warmup = 0.1, .timeout = 5, .cpu = -1, .path = "/", .interface = "", .second = ""};
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'h': o.host = optarg; break;
        case 'p': o.port = (int)number("port", optarg, 0, 65535); break;
        case 'n': o.connections = (int)number("connections", optarg, 1, 1e6); break;
        case 's': o.size = (int)number("size", optarg, 1, 1 << 28); break;
        case 'b': o.burst = (int)number("burst", optarg, 1, 1e6); break;
        case 't': o.seconds = number("seconds", optarg, 0.001, 86400); break;
        case 'w': o.warmup = number("warmup", optarg, 0, 86400); break;
        case 'm': o.messages = (long)number("messages", optarg, 0, 1e15); break;
        case 'r': o.rate = number("rate", optarg, 0, 1e12); break;
        case 'o': o.timeout = number("timeout", optarg, 0.001, 86400); break;
        case 'c': o.cpu = (int)number("cpu", optarg, -1, 1023); break;
        case 'S': o.spin = true; break;
        case 'P': o.path = optarg; break;
        case 'C': o.ca = optarg; break;
        case 'T': o.certificate = optarg; break;
        case 'i': o.interface = optarg; break;
        case 'g': o.group = optarg; break;
        case '2': o.second = optarg; break;
        case 'd': o.delay = number("delay", optarg, 0, 10000); break;
        case 'l': o.loss = number("loss", optarg, 0, 100); break;
        default: exit(SFB_EXIT_USAGE);
        }
    }
    if (optind < argc)
        sfb_die(SFB_EXIT_USAGE, "unexpected argument \"%s\"", argv[optind]);
    return o;
}

int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(argv[1], commands[i].name)) {
            struct sfb_options o = parse(argc - 1, argv + 1);

            /* This program must end with the bench even if the bench is killed, because it may spin for ever. */
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            sfb_pin(o.cpu);
            return commands[i].run(&o);
        }
    fprintf(stderr, "usage: sfbench COMMAND [--OPTION VALUE]...; the commands are");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(stderr, " %s", commands[i].name);
    fputc('\n', stderr);
    return SFB_EXIT_USAGE;
}
