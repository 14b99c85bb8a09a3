"""The selection of CPython's event-loop tests, with the reasons for leaving others out.

Every test class of ``test.test_asyncio`` must be in one of the tables below, so a class that a new CPython adds is an
error here and not a gap.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Iterable

#: Tests of the loop itself: its callbacks, timers, sockets, transports, servers, TLS, pipes, signals, subprocesses.
LOOP = (
    "test_events.EPollEventLoopTests",
    "test_sock_lowlevel.EPollEventLoopTests",
    "test_sendfile.EPollEventLoopTests",
    "test_sslproto.SelectorStartTLSTests",
    "test_sslproto.SslProtoHandshakeTests",
    "test_server.SelectorStartServerTests",
    "test_server.TestServer2",
    "test_server.UnixServerCleanupTests",
    "test_buffered_proto.BufferedProtocolSelectorTests",
    "test_streams.StreamTests",
    "test_ssl.TestSSL",
    "test_base_events.BaseEventLoopWithSelectorTests",
    "test_base_events.BaseEventLoopTests",
    "test_base_events.RunningLoopTests",
    "test_unix_events.SelectorEventLoop*Tests",
    "test_unix_events.TestFunctional",
    "test_unix_events.TestFork",
    "test_subprocess.SubprocessThreadedWatcherTests",
    "test_subprocess.SubprocessPidfdWatcherTests",
    "test_subprocess.GenericWatcherTests",
    "test_events.HandleTests",
    "test_events.Test*GetEventLoop",
    "test_events.TestServer",
    "test_events.TestAbstractServer",
    "test_eager_task_factory.*",
    "test_tasks.RunCoroutineThreadsafeTests",
    "test_tasks.SleepTests",
    "test_events.UnixPipeObjectSupportTests",
    "test_server_context.*",
    "test_free_threading.*",
)

#: Tests of what asyncio builds on a loop. They exercise call_soon, call_later, contexts, executors and shutdown.
LIBRARY = (
    "test_subprocess.SubprocessSafeWatcherTests",
    "test_subprocess.SubprocessFastWatcherTests",
    "test_tasks.CTask_CFuture_Tests",
    "test_tasks.PyTask_PyFuture_Tests",
    "test_tasks.CTask_Future_Tests",
    "test_tasks.*CurrentLoopTests",
    "test_tasks.WaitTests",
    "test_tasks.CompatibilityTests",
    "test_futures2.*",
    "test_context.*",
    "test_locks.*",
    "test_queues.*",
    "test_runners.*",
    "test_staggered.*",
    "test_taskgroups.*",
    "test_threads.*",
    "test_timeouts.*",
    "test_waitfor.*",
    "test_graph.*",
    "test_asyncgen.AsyncGenAsyncioTest",
    "test_contextlib_async.*",
    "test_async_case.*",
)

#: Class → why it is left out.
EXCLUDED = {
    "test_*.*Proactor*": "Windows",
    "test_windows_*.*": "Windows",
    "test_*.PollEventLoopTests": "EPollEventLoopTests again with another selector, which is never used here",
    "test_*.SelectEventLoopTests": "EPollEventLoopTests again with another selector, which is never used here",
    "test_selector_events.*": "white-box tests of asyncio's selector transports on mock sockets and loops",
    "test_base_events.BaseEventTests": "unit tests of functions in asyncio.base_events",
    "test_base_events.BaseLoopSockSendfileTests": "tests of BaseSelectorEventLoop without its native sendfile",
    "test_base_events.TestSelectorUtils": "unit tests of functions in asyncio.selector_events",
    "test_events.TimerTests": "unit tests of asyncio.TimerHandle on a mock loop",
    "test_events.AbstractEventLoopTests": "unit tests of asyncio.AbstractEventLoop",
    "test_events.PolicyTests": "unit tests of asyncio's default policy",
    "test_unix_events.PolicyTests": "unit tests of asyncio's default policy",
    "test_unix_events.Unix*PipeTransportTests": "white-box tests of asyncio's pipe transports on a test loop",
    "test_unix_events.*ChildWatcherTests": "unit tests of asyncio's child watchers on a test double of a loop",
    "test_subprocess.SubprocessTransportTests": "unit tests of a transport on a test double of a loop",
    "test_subprocess.MultiLoopChildWatcherTests": "unit test of a deprecation warning",
    "test_subprocess.SubprocessMultiLoopWatcherTests": "CPython skips them all (bpo-38323)",
    "test_tasks.*IntrospectionTests": "unit tests of all_tasks and current_task on mock loops",
    "test_tasks.GenericTaskTests": "unit tests of the task class",
    "test_tasks.*GatherTests": "unit tests of gather on a test double of a loop",
    "test_tasks.CTask_CFuture_SubclassTests": "CTask_CFuture_Tests again with other task and future classes",
    "test_tasks.CTaskSubclass_PyFuture_Tests": "CTask_CFuture_Tests again with other task and future classes",
    "test_tasks.PyTask_CFutureSubclass_Tests": "CTask_CFuture_Tests again with other task and future classes",
    "test_tasks.CTask_PyFuture_Tests": "CTask_CFuture_Tests again with other task and future classes",
    "test_tasks.PyTask_CFuture_Tests": "CTask_CFuture_Tests again with other task and future classes",
    "test_tasks.PyTask_PyFuture_SubclassTests": "CTask_CFuture_Tests again with other task and future classes",
    "test_futures.*": "unit tests of futures on a test double of a loop",
    "test_pep492.*": "tests of the language on a test double of a loop",
    "test_protocols.*": "unit tests of the protocol classes",
    "test_transports.*": "unit tests of the transport base classes",
    "test_tools.*": "unit tests of asyncio.tools, without a loop",
    "test_asyncgen.*": "tests of the language, without a loop",
}

#: Single tests of the classes above that are left out, because asyncio's own selector loop fails them, too, when it has
#: a real selector in place of the mock that the class gives to BaseEventLoop. The last one would only hang.
EXCLUDED_TESTS = {
    "test_base_events.BaseEventLoopTests.test__*": "looks at the arguments of calls to the mock selector",
    "test_base_events.BaseEventLoopTests.test_run_forever_pre_stopped": "looks at calls to the mock selector",
    "test_base_events.BaseEventLoopTests.test_single_selecter_event_callback_*": "programs the mock selector",
    "test_base_events.BaseEventLoopTests.test_not_implemented": "tests that BaseEventLoop is abstract",
    "test_base_events.BaseEventLoopTests.test_check_thread": "needs a selector that never sleeps",
    "test_base_events.BaseEventLoopTests.test_asyncgen_finalization_by_gc_in_other_thread": (
        "needs a selector that never sleeps"
    ),
    "test_base_events.BaseEventLoopTests.test_custom_run_forever_integration": "needs a selector that never sleeps",
    "test_base_events.BaseEventLoopTests.test_shutdown_default_executor_timeout": "needs a selector that never sleeps",
    "test_ssl.TestSSL.test_remote_shutdown_receives_trailing_data_on_slow_socket": (
        "reads _read_ready_cb and _sock of asyncio's selector transport; its server waits for ever where there are none"
    ),
}


@dataclasses.dataclass(frozen=True)
class Choice:
    """Whether a test class is run, and whether it belongs to the quick subset."""

    run: bool
    quick: bool = False


def choose(class_name: str) -> Choice | None:
    """Return the choice for ``module.Class``, or None if no table has it."""
    if _matches(class_name, LOOP):
        return Choice(run=True, quick=True)
    if _matches(class_name, LIBRARY):
        return Choice(run=True)
    if _matches(class_name, EXCLUDED):
        return Choice(run=False)
    return None


def is_excluded(test_id: str) -> bool:
    """Whether this test of a selected class is left out."""
    return _matches(test_id, EXCLUDED_TESTS)


def _matches(class_name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(class_name, pattern) for pattern in patterns)
