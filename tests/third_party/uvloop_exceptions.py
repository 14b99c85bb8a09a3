"""The parts of uvloop's suite that are not run, and the tests that the loop under test may fail, each with its reason.

Strict: an exception that passes is an error. There are two acceptable reasons. A test may be about libuv, Cython or a
private name of uvloop's. Or it may assert that uvloop behaves unlike asyncio, although sfloop promises asyncio's
behaviour; asyncio's own loop fails each of these, too.
"""

from __future__ import annotations

from conformance.forkserver.expectations import Expected
from conformance.forkserver.outcome import Status

#: Modules that are not about an event loop, or that need uvloop's extension module.
LEFT_OUT = {
    "test_fs_event": "libuv's file system events, which asyncio does not have",
    "test_libuv_api": "pointers to libuv's structures",
    "test_sourcecode": "flake8 and mypy over uvloop's source",
    "test_testbase": "tests of uvloop's own test base class",
}

_CLOSED_SOCKET = (
    "uvloop keeps a socket open that the program closes under a pending sock_*() call, by counting references in it; "
    "asyncio does not"
)
_CALLBACK_CONTEXT = (
    "uvloop calls pause_writing, resume_writing and connection_lost in the context the transport was made in; asyncio "
    "in that of the code that writes or closes"
)

EXCEPTIONS = (
    # private names of uvloop's
    Expected("test_cython.TestCythonIntegration.test_cython_coro_is_coroutine", "imports uvloop's extension module"),
    Expected("test_sockets.TestUVSockets.test_socket_sync_remove", "calls uvloop's loop._get_backend_id()"),
    Expected("test_sockets.TestUVSockets.test_pseudosocket", "the repr of uvloop's PseudoSocket"),
    Expected(
        "test_process.Test_UV_Process_Delayed.*stdio__paused__*", "passes uvloop's private __uvloop_sleep_after_fork"
    ),
    Expected("test_process.Test_UV_Process.test_process_double_close", "counts the calls of os.dup that uvloop makes"),
    Expected("test_runner.TestSourceCode.test_uvloop_run_2", "uvloop.run's check of its own loop_factory argument"),
    Expected(
        "test_base.TestBaseUV.test_thread_name_prefix_in_default_executor", "expects the threads to be named 'uvloop'"
    ),
    Expected(
        "test_tcp.Test_UV_TCP.test_create_server_buffered_2",
        "uvloop wraps what get_buffer() raises in a RuntimeError; asyncio hands connection_lost() the exception itself",
    ),
    Expected("test_tcp.Test_UV_TCPSSL.test_flush_before_shutdown", "get_extra_info('uvloop.sslproto')"),
    # uvloop is unlike asyncio
    Expected("test_sockets.TestUVSockets.test_socket_connect_and_close", _CLOSED_SOCKET, status=Status.HANG),
    Expected("test_sockets.TestUVSockets.test_socket_recv_and_close", _CLOSED_SOCKET),
    Expected("test_sockets.TestUVSockets.test_socket_recv_into_and_close", _CLOSED_SOCKET),
    Expected("test_sockets.TestUVSockets.test_socket_close_loop_and_close", _CLOSED_SOCKET),
    Expected("test_context.Test_UV_Context.test_create_connection_protocol", _CALLBACK_CONTEXT),
    Expected("test_context.Test_UV_Context.test_create_ssl_server_manual_connection_lost", _CALLBACK_CONTEXT),
    Expected(
        "test_context.Test_UV_Context.test_create_server_manual_connection_lost",
        _CALLBACK_CONTEXT + " before 3.15",
        before=(3, 15),
    ),
    Expected("test_context.Test_UV_Context.test_create_ssl_server_connection_protocol", _CALLBACK_CONTEXT),
    Expected("test_context.Test_UV_Context.test_datagram_protocol", _CALLBACK_CONTEXT),
    Expected(
        "test_signals.Test_UV_Signals.test_signals_no_SIGCHLD", "uvloop refuses handlers for SIGCHLD, asyncio has them"
    ),
    Expected(
        "test_tcp.Test_UV_TCP.test_tcp_handle_abort_in_connection_made",
        "expects no get_extra_info('socket') once a transport is closed; asyncio's stays",
    ),
    Expected(
        "test_udp.Test_UV_UDP.test_create_datagram_endpoint_reuse_address_*",
        "the argument reuse_address was removed from asyncio in 3.11",
        since=(3, 11),
    ),
    Expected(
        "test_udp.Test_UV_UDP.test_create_datagram_endpoint_wrong_sock",
        "the words of an error message that asyncio has changed",
        since=(3, 13),
    ),
    Expected(
        "test_udp.Test_UV_UDP.test_udp_sendto_dns", "uvloop refuses host names in sendto(), asyncio resolves them"
    ),
    Expected(
        "test_tcp.Test_UV_TCPSSL.test_shutdown_timeout_handler_not_set",
        "uvloop calls eof_received() while reading is paused, before the data that came earlier",
        status=Status.HANG,
    ),
    # older versions of asyncio
    Expected(
        "test_unix.Test_UV_Unix.test_create_unix_server_path_stream_bittype",
        "asyncio's create_unix_server() has no cleanup_socket before 3.13",
        before=(3, 13),
    ),
    Expected(
        "test_unix.Test_UV_Unix.test_epollhup",
        "asyncio's Server.wait_closed() does not wait for the connections before 3.12",
        before=(3, 12),
    ),
    Expected(
        "test_context.Test_UV_Context.test_subprocess_protocol",
        "asyncio's child watchers report from a thread without the caller's context before 3.12",
        before=(3, 12),
    ),
    Expected(
        "test_context.Test_UV_Context.test_start_tls",
        _CALLBACK_CONTEXT + " before 3.15",
        before=(3, 15),
    ),
    Expected(
        "test_base.TestBaseUV.test_set_task_name",
        "uvloop calls the task's set_name(); asyncio gives the name to the task's class",
        since=(3, 14),
    ),
    # the test itself
    Expected(
        "test_regr1.TestIssue39Regr.test_issue39_regression", "the test leaves pipes of its own open, on every loop"
    ),
)
