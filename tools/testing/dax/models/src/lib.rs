// SPDX-License-Identifier: GPL-2.0

//! The modules of the XFS DAX holder, of mm's `dax_kill` and of device-mapper's holder that need no
//! kernel, tested against naive models of what they compute.
//!
//! The sources are those that the kernel compiles, not copies. What is about several tasks at a
//! time is modelled in `tests::interleavings`, and checked exhaustively.

// Here only the tests use them.
#[allow(dead_code)]
#[path = "../../../../../fs/xfs/dax_holder/chunk.rs"]
mod chunk;
#[allow(dead_code)]
#[path = "../../../../../drivers/md/dax_holder/leg.rs"]
mod leg;
#[allow(dead_code)]
#[path = "../../../../../mm/dax_kill/list.rs"]
mod list;
#[allow(dead_code)]
#[path = "../../../../../fs/xfs/dax_holder/pending.rs"]
mod pending;
#[allow(dead_code)]
#[path = "../../../../../fs/xfs/dax_holder/rmap.rs"]
mod rmap;
#[allow(dead_code)]
#[path = "../../../../../mm/dax_kill/signal.rs"]
mod signal;
#[allow(dead_code)]
#[path = "../../../../../mm/dax_kill/to_kill.rs"]
mod to_kill;
#[allow(dead_code)]
#[path = "../../../../../fs/xfs/dax_holder/translate.rs"]
mod translate;
#[allow(dead_code)]
#[path = "../../../../../fs/xfs/dax_holder/units.rs"]
mod units;

/// What stands for `kernel::page::Pfn` here.
#[allow(dead_code)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pfn(pub(crate) usize);

#[cfg(test)]
mod tests;
