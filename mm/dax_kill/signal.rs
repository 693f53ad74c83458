// SPDX-License-Identifier: GPL-2.0

//! The signal table: which process is sent which signal.
//!
//! Uses nothing of the kernel, so that `tools/testing/dax/models` can compile this file.

/// How a failure came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The current process has consumed the poison (`MF_ACTION_REQUIRED`).
    Consumed,
    /// A scrub, another agent in the machine, or a test has found the poison. No process has
    /// consumed it.
    Found,
    /// The device is being removed. Its memory is still good (`MF_MEM_PRE_REMOVE`).
    Removal,
}

/// Which of the processes that map the memory this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Process {
    /// The current process.
    Current,
    /// Another process, with a thread for which early kill is enabled, by `PR_MCE_KILL_EARLY` or
    /// the sysctl `vm.memory_failure_early_kill`.
    Early,
    /// Another process, without such a thread.
    Late,
}

/// A signal to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// `SIGBUS` with `BUS_MCEERR_AR`: the process can't continue where it is.
    ActionRequired,
    /// `SIGBUS` with `BUS_MCEERR_AO`: the process can continue.
    ActionOptional,
    /// `SIGKILL`: no address can be passed that would let the process recover.
    Kill,
}

/// Returns the signal that a process is sent, if any.
///
/// A process that is sent none has lost the mapping all the same, and gets `SIGBUS` with
/// `BUS_MCEERR_AR` from the page fault when it accesses the memory again.
///
/// If the current process has early kill enabled, it is [`Process::Current`] for a failure that was
/// consumed, and [`Process::Early`] for all others.
pub(crate) fn signal(kind: FailureKind, process: Process, address_known: bool) -> Option<Signal> {
    match (kind, process) {
        _ if !address_known => Some(Signal::Kill),
        (FailureKind::Consumed, Process::Current) => Some(Signal::ActionRequired),
        (FailureKind::Removal, _) | (_, Process::Early) => Some(Signal::ActionOptional),
        (_, Process::Current | Process::Late) => None,
    }
}

#[cfg(CONFIG_DAX_KILL_KUNIT_TEST)]
#[kernel::macros::kunit_tests(dax_kill_signal)]
mod tests {
    use super::*;

    #[test]
    fn consumed() {
        let signal = |process| signal(FailureKind::Consumed, process, true);

        assert_eq!(signal(Process::Current), Some(Signal::ActionRequired));
        assert_eq!(signal(Process::Early), Some(Signal::ActionOptional));
        assert_eq!(signal(Process::Late), None);
    }

    #[test]
    fn found() {
        let signal = |process| signal(FailureKind::Found, process, true);

        assert_eq!(signal(Process::Current), None);
        assert_eq!(signal(Process::Early), Some(Signal::ActionOptional));
        assert_eq!(signal(Process::Late), None);
    }

    #[test]
    fn removal() {
        for process in [Process::Current, Process::Early, Process::Late] {
            let signal = signal(FailureKind::Removal, process, true);

            assert_eq!(signal, Some(Signal::ActionOptional));
        }
    }

    #[test]
    fn address_unknown() {
        for kind in [
            FailureKind::Consumed,
            FailureKind::Found,
            FailureKind::Removal,
        ] {
            for process in [Process::Current, Process::Early, Process::Late] {
                assert_eq!(signal(kind, process, false), Some(Signal::Kill));
            }
        }
    }
}
