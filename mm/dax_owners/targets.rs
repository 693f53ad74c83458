// SPDX-License-Identifier: GPL-2.0

//! The processes that are to be signalled: which, and with which address.
//!
//! Needs nothing of the kernel: the property tests compile this file as it is.

use core::cmp::{
    Ordering,
    Reverse, //
};

/// An address space, told from others by its number.
pub(crate) trait Space {
    /// The number, which stays the same for as long as this value lives.
    fn id(&self) -> usize;
}

/// A place where an address space `M` has a failed page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target<M> {
    pub(crate) mm: M,
    /// Page frame number.
    pub(crate) pfn: usize,
    /// Virtual address, or `None` if it can't be told.
    pub(crate) address: Option<usize>,
    /// log2 of the bytes that the mapping there took away with it. 0 if the page was not mapped at
    /// the time: it would have been at the next touch.
    pub(crate) shift: u32,
}

impl<M: Space> Target<M> {
    /// By address space and page; of several places for one page first the one that tells most.
    fn order(&self, other: &Self) -> Ordering {
        let key = |t: &Self| (t.pfn, t.address.is_none(), Reverse(t.shift), t.address);

        self.mm
            .id()
            .cmp(&other.mm.id())
            .then_with(|| key(self).cmp(&key(other)))
    }
}

/// Sorts `targets`, brings one for each address space to the front, and returns how many these are:
/// for its first page, at the best place.
///
/// Of a signal like SIGBUS only one is pending at a time: a process that is sent one for each page
/// would see the first, and any others by chance.
///
/// What comes after them may be dropped. Allocates nothing.
pub(crate) fn settle<M: Space>(targets: &mut [Target<M>]) -> usize {
    targets.sort_unstable_by(Target::order);

    let mut kept = 0usize;
    for n in 0..targets.len() {
        let known = kept
            .checked_sub(1)
            .and_then(|last| targets.get(last).zip(targets.get(n)))
            .is_some_and(|(last, next)| last.mm.id() == next.mm.id());
        if !known {
            targets.swap(kept, n);
            kept += 1;
        }
    }
    kept
}

/// The one of the address space `id` in `targets`, which is settled.
pub(crate) fn of<M: Space>(targets: &[Target<M>], id: usize) -> Option<&Target<M>> {
    let at = targets.binary_search_by_key(&id, |t| t.mm.id()).ok()?;

    targets.get(at)
}
