# A part of core.pyx: opening drivers and stacks.

def load_driver(str name, str path):
    """Load a frame driver from a shared object (``sf_driver_load`` in sf/driver.h), for all loops of this process.

    :raises OSError: the object cannot be used, or the machine lacks something that the driver needs.
    """
    cdef char[512] message  # at least SF_DRIVER_ERROR_SIZE
    cdef int rc
    message[0] = 0
    rc = sf_driver_load(name.encode(), os.fsencode(path), message)
    if rc < 0:
        raise OSError(-rc, (<bytes>message).decode(errors="replace"))


def tcpdirect_functions():
    """The names of the functions of TCPDirect's library that the stack calls, in the order of its table."""
    cdef list names = []
    while sf_tcpdirect_function(<int>len(names)) != NULL:
        names.append((<bytes>sf_tcpdirect_function(<int>len(names))).decode())
    return names


cdef sf_driver *open_driver(str driver, str interface, uint32_t address, list wrappers, uint32_t ring, str mode,
                            bint stamp_tx) except NULL:
    """Open a driver and its wrappers: (name, file or description), the lowest first. ring 0: the driver chooses."""
    cdef sf_driver_config config
    cdef sf_driver *opened
    cdef sf_driver *wrapped
    cdef sf_driver_wrap wrapper
    cdef int error = 0
    cdef char[512] message  # at least SF_DRIVER_ERROR_SIZE
    cdef bytes name = os.fsencode(interface)
    cdef bytes text, mode_text = (mode or "auto").encode()
    cdef sf_driver_open opener = sf_driver_find(driver.encode())
    if opener == NULL:
        raise OSError(errno_of.EOPNOTSUPP, f"driver={driver!r}: not built in this version of sfloop")
    memset(&config, 0, sizeof(config))
    message[0] = 0
    config.interface = name
    config.queue = -1
    config.addr = address
    config.rx_frames = ring
    config.mode = mode_text
    config.stamp_tx = stamp_tx
    opened = opener(&config, &error, message)
    if opened == NULL:
        raise OSError(-error, f"driver={driver!r}: {(<bytes>message).decode(errors='replace')}")
    for wrapper_name, value in wrappers:
        wrapper = sf_driver_find_wrapper((<str>wrapper_name).encode())
        text = os.fsencode(value)
        config.faults = config.file = NULL
        if wrapper_name == "fault":
            config.faults = text
        elif value != "-":
            config.file = text
        wrapped = wrapper(opened, &config, &error, message)
        if wrapped == NULL:
            opened.fast.control.close(opened)
            raise OSError(-error, f"{wrapper_name}={value!r}: {(<bytes>message).decode(errors='replace')}")
        opened = wrapped
    return opened


cdef sf_ns seconds(dict limits, str name) except -1:
    return <sf_ns>ceil(<double>limits.get(name, 0.0) * 1e9)


cdef int set_limits(sf_tcp_limits *out, dict limits) except -1:
    """Copy the limits that are given. Others stay 0, which means the stack's default."""
    out.max_connections = limits.get("max_connections", 0)
    out.max_half_open = limits.get("max_half_open", 0)
    out.max_time_wait = limits.get("max_time_wait", 0)
    out.send_buffer = limits.get("send_buffer", 0)
    out.receive_buffer = limits.get("receive_buffer", 0)
    out.memory = limits.get("memory", 0)
    out.syn_retries = limits.get("syn_retries", 0)
    out.retries = limits.get("retries", 0)
    out.mss = limits.get("mss", 0)
    out.first_sequence = limits.get("first_sequence", 0)
    out.time_wait = seconds(limits, "time_wait")
    out.orphan_timeout = seconds(limits, "orphan_timeout")
    out.user_timeout = seconds(limits, "user_timeout")
    out.min_rto = seconds(limits, "min_rto")
    out.delayed_ack = seconds(limits, "delayed_ack")
    return 0
