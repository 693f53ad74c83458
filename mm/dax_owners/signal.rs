// SPDX-License-Identifier: GPL-2.0

//! Who is signalled, and how.
//!
//! Needs nothing of the kernel: the property tests compile this file as it is.

/// How a failure came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The current process has consumed the poison (`MF_ACTION_REQUIRED`).
    Consumed,
    /// A scrub, another CPU's cache or a tester has found it; nobody has consumed it.
    Found,
    /// The device goes, the memory is still good (`MF_MEM_PRE_REMOVE`).
    Removal,
}

/// What a process that maps the memory is to the failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Process {
    /// The current one.
    Current,
    /// Another one, in which a thread asked to be told at once (`PR_MCE_KILL_EARLY`, or the
    /// sysctl).
    Early,
    /// Another one, that did not.
    Late,
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// `SIGBUS` with `BUS_MCEERR_AR`: the process can't go on where it is.
    ActionRequired,
    /// `SIGBUS` with `BUS_MCEERR_AO`: it can.
    ActionOptional,
    /// `SIGKILL`: it can't be told what it lost.
    Kill,
}

/// The signal table. Whoever gets none has lost the mapping and is told when the memory is touched
/// again.
///
/// A process that is both the current one and an early one is [`Process::Current`] if the failure
/// was consumed, else [`Process::Early`].
pub(crate) fn signal(cause: Cause, process: Process, address_known: bool) -> Option<Signal> {
    match (cause, process) {
        _ if !address_known => Some(Signal::Kill),
        (Cause::Consumed, Process::Current) => Some(Signal::ActionRequired),
        (Cause::Removal, _) | (_, Process::Early) => Some(Signal::ActionOptional),
        (_, Process::Current | Process::Late) => None,
    }
}
