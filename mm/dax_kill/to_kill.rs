// SPDX-License-Identifier: GPL-2.0

//! The processes to signal: one entry for each `mm_struct`, with the address to pass.
//!
//! Uses nothing of the kernel but `Pfn`, so that `tools/testing/dax/models` can compile this file.

use super::Pfn;
use core::cmp::{
    Ordering,
    Reverse, //
};

/// A reference to an `mm_struct`, which has a number.
pub(crate) trait MmId {
    /// Returns the number. No other `mm_struct` has it for as long as `self` lives.
    fn id(&self) -> usize;
}

/// A virtual address at which the `mm_struct` `M` has a page that failed (C `struct to_kill`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ToKill<M> {
    pub(crate) mm: M,
    /// The page that failed.
    pub(crate) pfn: Pfn,
    /// The virtual address, or `None` if the page has none in the VMA.
    pub(crate) address: Option<usize>,
    /// log2 of the bytes that were unmapped together with the page. 0 if the page was not mapped at
    /// that time, but would have been by the next access.
    pub(crate) shift: u32,
}

impl<M: MmId> ToKill<M> {
    /// Orders by `mm_struct` and page. Of several entries for one page, the one that tells a
    /// process most comes first: with an address, and with the largest mapping.
    fn order(&self, other: &Self) -> Ordering {
        let key = |t: &Self| (t.pfn, t.address.is_none(), Reverse(t.shift), t.address);

        self.mm
            .id()
            .cmp(&other.mm.id())
            .then_with(|| key(self).cmp(&key(other)))
    }
}

/// Sorts `list`, moves the first entry of each `mm_struct` to the front, and returns how many these
/// are. The rest may be dropped. Allocates nothing.
///
/// One entry is enough: only one `SIGBUS` can be pending for a process. If one were sent for each
/// page, the process would see the first, and any of the others by chance.
pub(crate) fn dedup_by_mm<M: MmId>(list: &mut [ToKill<M>]) -> usize {
    list.sort_unstable_by(ToKill::order);

    let mut kept = 0usize;
    for n in 0..list.len() {
        let known = kept
            .checked_sub(1)
            .and_then(|last| list.get(last).zip(list.get(n)))
            .is_some_and(|(last, next)| last.mm.id() == next.mm.id());
        if !known {
            list.swap(kept, n);
            kept += 1;
        }
    }
    kept
}

/// Finds the entry of the `mm_struct` with the number `id` in a list that [`dedup_by_mm()`] has
/// sorted.
pub(crate) fn find<M: MmId>(list: &[ToKill<M>], id: usize) -> Option<&ToKill<M>> {
    let at = list.binary_search_by_key(&id, |t| t.mm.id()).ok()?;

    list.get(at)
}

#[cfg(CONFIG_DAX_KILL_KUNIT_TEST)]
#[kernel::macros::kunit_tests(dax_kill_to_kill)]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    struct Mm(usize);

    impl MmId for Mm {
        fn id(&self) -> usize {
            self.0
        }
    }

    fn to_kill(mm: usize, pfn: usize, address: Option<usize>, shift: u32) -> ToKill<Mm> {
        ToKill {
            mm: Mm(mm),
            pfn: Pfn::from_raw(pfn),
            address,
            shift,
        }
    }

    #[test]
    fn one_for_each_mm() {
        let mut list = [
            to_kill(2, 7, Some(0x2000), 12),
            to_kill(1, 8, Some(0x8000), 12),
            to_kill(2, 6, Some(0x1000), 12),
            to_kill(1, 7, Some(0x9000), 12),
        ];

        // Each with its first page.
        assert_eq!(dedup_by_mm(&mut list), 2);
        assert_eq!(find(&list[..2], 1).and_then(|t| t.address), Some(0x9000));
        assert_eq!(find(&list[..2], 2).and_then(|t| t.address), Some(0x1000));
        assert!(find(&list[..2], 3).is_none());
    }

    #[test]
    fn address_and_size_win() {
        let mut list = [
            to_kill(1, 7, None, 21),
            to_kill(1, 7, Some(0x3000), 0),
            to_kill(1, 7, Some(0x2000), 12),
            to_kill(1, 7, Some(0x1000), 12),
        ];

        assert_eq!(dedup_by_mm(&mut list), 1);
        assert_eq!(find(&list[..1], 1).and_then(|t| t.address), Some(0x1000));
    }

    #[test]
    fn empty() {
        assert_eq!(dedup_by_mm::<Mm>(&mut []), 0);
        assert!(find::<Mm>(&[], 1).is_none());
    }
}
