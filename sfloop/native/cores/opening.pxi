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


def registered():
    """The contents of the registries in C, in their order: kind ("stack", "driver", "wrapper") → name → description."""
    cdef dict found = {"stack": {}, "driver": {}, "wrapper": {}}
    cdef const sf_stack_entry *stack = sf_stack_at(0)
    cdef const sf_driver_entry *driver = sf_driver_at(0)
    cdef int i = 0
    while stack != NULL:
        found["stack"][(<bytes>stack.name).decode()] = (<bytes>stack.description).decode()
        i += 1
        stack = sf_stack_at(i)
    i = 0
    while driver != NULL:
        found["driver" if driver.open != NULL else "wrapper"][(<bytes>driver.name).decode()] = \
            (<bytes>driver.description).decode()
        i += 1
        driver = sf_driver_at(i)
    return found


def stack_options(str name):
    """The names of a stack's options, in its own order."""
    cdef const sf_stack_entry *entry = sf_stack_find(name.encode())
    cdef list names = []
    while entry != NULL and entry.option != NULL and entry.option(<int>len(names)) != NULL:
        names.append((<bytes>entry.option(<int>len(names))).decode())
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


class StackLost(OSError):
    """The engine could not take a new stack. The stack was destroyed, with the objects that it had taken over."""


cdef list fill_options(dict options, sf_stack_option *out):
    """Returns the texts that `out` refers to."""
    cdef list texts = []
    cdef bytes text
    cdef int i = 0
    for name, value in options.items():
        text = (<str>name).encode()
        texts.append(text)
        out[i].name = text
        if isinstance(value, str):
            text = os.fsencode(value)
            texts.append(text)
            out[i].text = text
        elif isinstance(value, int):
            out[i].number = value
        else:
            raise TypeError(f"{name}={value!r}: an option of a stack is an int or a str")
        i += 1
    return texts


cdef sf_stack *create_stack(const sf_stack_entry *entry, sf_driver *opened, dict options) except NULL:
    cdef sf_stack_option *given = <sf_stack_option *>calloc(len(options) + 1, sizeof(sf_stack_option))
    cdef sf_stack *stack
    cdef char[512] message  # at least SF_STACK_ERROR_SIZE
    cdef int error = 0
    if given == NULL:
        raise MemoryError()
    message[0] = 0
    try:
        texts = fill_options(options, given)
        stack = entry.create(opened, given, <int>len(options), &error, message)
    finally:
        free(given)
    if stack == NULL:
        raise OSError(-error, f"stack={(<bytes>entry.name).decode()!r}: {(<bytes>message).decode(errors='replace')}")
    return stack


cdef int open_stack(LoopCore loop, str name, tuple driver, dict options) except -1:
    """See LoopCore._open_stack()."""
    cdef const sf_stack_entry *entry = sf_stack_find(name.encode())
    cdef sf_driver *opened = NULL
    cdef sf_stack *stack
    cdef int error
    if entry == NULL or entry.create == NULL:
        raise OSError(errno_of.EOPNOTSUPP, "not built in this version of sfloop")
    if entry.over_driver != (driver is not None):
        needs = "needs a frame driver" if entry.over_driver else "has no frame driver"
        raise OSError(errno_of.EOPNOTSUPP, f"stack={name!r}: the stack {needs}")
    if driver is not None:
        driver_name, interface, address, wrappers, ring = driver
        opened = open_driver(driver_name, interface, address, wrappers, ring, None, False)
    try:
        stack = create_stack(entry, opened, options)
    except BaseException:
        if opened != NULL:
            opened.fast.control.close(opened)
        raise
    error = sf_engine_add_stack(loop.engine, stack)
    if error < 0:
        stack.ops.destroy(stack)
        raise StackLost(-error, os.strerror(-error))
    return 0
