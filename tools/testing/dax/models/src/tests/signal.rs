// SPDX-License-Identifier: GPL-2.0

//! Signals, against the table of the documentation.

use crate::signal::{signal, FailureKind, Process, Signal};

const AR: Option<Signal> = Some(Signal::ActionRequired);
const AO: Option<Signal> = Some(Signal::ActionOptional);
const KILL: Option<Signal> = Some(Signal::Kill);

/// What a process is, whether its address is known, and what it is sent if the error
/// was consumed, if it was found, and if the device goes.
#[rustfmt::skip]
const TABLE: [(Process, bool, [Option<Signal>; 3]); 6] = [
    // No process consumes what is merely found, or removed.
    (Process::Current, true,  [AR,   None, AO]),
    (Process::Early,   true,  [AO,   AO,   AO]),
    (Process::Late,    true,  [None, None, AO]),
    (Process::Current, false, [KILL, KILL, KILL]),
    (Process::Early,   false, [KILL, KILL, KILL]),
    (Process::Late,    false, [KILL, KILL, KILL]),
];

#[test]
fn the_signal_is_the_tables() {
    for (process, known, row) in TABLE {
        for (kind, want) in [
            FailureKind::Consumed,
            FailureKind::Found,
            FailureKind::Removal,
        ]
        .into_iter()
        .zip(row)
        {
            let got = signal(kind, process, known);
            assert_eq!(got, want, "{kind:?}, {process:?}, address known: {known}");
        }
    }
}
