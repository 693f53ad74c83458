// SPDX-License-Identifier: GPL-2.0

//! The steps, and which task takes them.

use std::sync::LazyLock;

use super::state::{Section, State, Write};
use super::users::gup;
use super::{Guard, Order};

/// Declares the steps, and a list of them with all that they may be about.
macro_rules! steps {
    ($($name:ident $(($type:ident: $($value:ident),*))?,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Step {
            $($name $(($type))?,)*
        }

        pub(super) static STEPS: LazyLock<Vec<Step>> = LazyLock::new(|| {
            [$(steps!(@ $name $(($type: $($value),*))?)),*].concat()
        });
    };
    (@ $name:ident) => { &[$name][..] };
    (@ $name:ident ($type:ident: $($value:ident),*)) => { &[$($name($type::$value)),*][..] };
}

steps! {
    MachineCheck,
    Notify,
    SetFlag,
    List,
    LockEntry,
    Zap,
    Signal,
    UnmapLater,
    Synchronized,
    TimedOut,
    Unmap,
    SetMceNospec,
    NfitList,

    WorkBegins,
    SrcuIsOver,
    RcuIsOver,
    FreezeQueue,
    QueueIsFrozen,
    LookAtPins,
    WorkUnmaps,
    ThawQueue,

    Touch,
    FaultLooks,
    FaultMaps,
    FaultSyncs,
    SyncLooks,
    SyncMaps,

    GupReadsPte,
    GupGrabs,
    GupLooksAgain,
    PinUnderLock,
    UsePin,
    Unpin,

    ReadBegins(Section: Srcu, Rcu, Queue),
    ReadLooks,
    ReadUses,
    ReadEnds,

    WriteBegins(Write: Recovery, Zero, Bio),
    WriteLooks,
    ClearPoison,
    MakePresent,
    ClearBegins,
    Unflag,
    Unlist,
    WriteUses,
    WriteEnds,
}

use Step::*;

impl Order {
    pub(super) fn step(self, before: &State, step: Step) -> Option<State> {
        if before.oops {
            return None;
        }
        let mut s = *before;
        let taken = match step {
            MachineCheck | Notify | SetFlag | List | LockEntry | Zap | Signal | UnmapLater => {
                self.notify(&mut s, step)
            }
            Synchronized | TimedOut | Unmap => self.notify_f4(&mut s, step),
            SetMceNospec | NfitList => self.stock(&mut s, step),
            WorkBegins | SrcuIsOver | RcuIsOver | FreezeQueue | QueueIsFrozen | LookAtPins
            | WorkUnmaps | ThawQueue => self.work(&mut s, step),
            Touch | FaultLooks | FaultMaps | FaultSyncs | SyncLooks | SyncMaps => {
                self.fault(&mut s, step)
            }
            GupReadsPte | GupGrabs | GupLooksAgain | PinUnderLock | UsePin | Unpin => {
                gup(&mut s, step)
            }
            ReadBegins(_) | ReadLooks | ReadUses | ReadEnds => self.read(&mut s, step),
            WriteBegins(_) | WriteLooks | ClearPoison | MakePresent | ClearBegins | Unflag
            | Unlist | WriteUses | WriteEnds => self.write(&mut s, step),
        };
        taken.then_some(s)
    }

    pub(super) fn is_stock(self) -> bool {
        matches!(self, Self::Stock { .. })
    }

    pub(super) fn lacks(self, guard: Guard) -> bool {
        self == Self::Ours(Some(guard))
    }
}
