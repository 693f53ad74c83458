// SPDX-License-Identifier: GPL-2.0

//! The list of processes to signal, which grows as long as there is memory.
//!
//! Uses nothing of the kernel, so that `tools/testing/dax/models` can compile this file.

use super::to_kill::{
    dedup_by_mm,
    MmId,
    ToKill, //
};

/// Entries reserved (best effort) before a page is locked.
pub(crate) const RESERVED: usize = 64;

/// A vector that allocates in `reserve()` only.
pub(crate) trait Store {
    /// The reference to an `mm_struct`.
    type Mm: MmId;

    /// Returns all entries.
    fn entries(&mut self) -> &mut [ToKill<Self::Mm>];

    /// Returns how many entries can be added without an allocation.
    fn spare(&self) -> usize;

    /// Allocates space for `more` entries, if there is memory.
    fn reserve(&mut self, more: usize);

    /// Adds an entry, or returns it if there is no space.
    fn push(&mut self, to_kill: ToKill<Self::Mm>) -> Result<(), ToKill<Self::Mm>>;

    /// Drops all entries but the first `len`.
    fn truncate(&mut self, len: usize);
}

/// Signals the processes of a list at once. [`dedup_by_mm()`] has sorted the list.
pub(crate) type KillNow<'a, M> = &'a mut dyn FnMut(&[ToKill<M>]);

/// Collects where one page is mapped, while its entry is locked.
pub(crate) struct PageCollector<'a, S: Store> {
    store: &'a mut S,
    kill_now: Option<KillNow<'a, S::Mm>>,
    count: usize,
    missing: bool,
}

impl<'a, S: Store> PageCollector<'a, S> {
    fn new(store: &'a mut S, kill_now: Option<KillNow<'a, S::Mm>>) -> Self {
        Self {
            store,
            kill_now,
            count: 0,
            missing: false,
        }
    }

    /// Adds an entry. Allocates nothing.
    pub(crate) fn add_to_kill(&mut self, to_kill: ToKill<S::Mm>) {
        self.count += 1;

        let Err(to_kill) = self.store.push(to_kill) else {
            return;
        };
        let Some(kill_now) = &mut self.kill_now else {
            self.missing = true;
            return;
        };
        dedup(self.store);
        if self.store.spare() == 0 {
            kill_now(self.store.entries());
            self.store.truncate(0);
        }
        if let Err(to_kill) = self.store.push(to_kill) {
            kill_now(&[to_kill]);
        }
    }

    /// Returns whether each process that maps the page is on the list or has been signalled, so
    /// that the page may be unmapped. If not, the page is visited again.
    pub(crate) fn is_complete(&self) -> bool {
        !self.missing
    }
}

/// Keeps one entry for each `mm_struct`.
fn dedup<S: Store>(store: &mut S) {
    let kept = dedup_by_mm(store.entries());

    store.truncate(kept);
}

/// Makes space for `more` entries, if there is memory. A list that has to grow doubles in length,
/// so that this is rare.
fn make_space<S: Store>(store: &mut S, more: usize) {
    if store.spare() >= more {
        return;
    }
    dedup(store);
    if store.spare() < more {
        let len = store.entries().len();

        store.reserve(len.max(more));
    }
}

/// Returns the entries, sorted and one for each `mm_struct`.
pub(crate) fn deduped<S: Store>(store: &mut S) -> &[ToKill<S::Mm>] {
    dedup(store);
    store.entries()
}

/// Collects where one page is mapped.
///
/// `visit` locks the page, passes each mapping to [`PageCollector::add_to_kill()`], and unmaps the
/// page if [`PageCollector::is_complete()`].
///
/// It is called once if the space that was reserved is enough. Otherwise it is called a second
/// time, after as much space as was missing has been allocated. If that failed, or the page got
/// more mappings, processes are signalled with the page locked and leave the list, which allocates
/// nothing.
pub(crate) fn collect_page<S: Store, E>(
    store: &mut S,
    kill_now: KillNow<'_, S::Mm>,
    mut visit: impl FnMut(&mut PageCollector<'_, S>) -> Result<(), E>,
) -> Result<(), E> {
    make_space(store, RESERVED);

    let len = store.entries().len();
    let mut collector = PageCollector::new(store, None);
    visit(&mut collector)?;
    if collector.is_complete() {
        return Ok(());
    }

    let count = collector.count;
    store.truncate(len);
    make_space(store, count);
    visit(&mut PageCollector::new(store, Some(kill_now)))
}

#[cfg(CONFIG_DAX_KILL_KUNIT_TEST)]
#[kernel::macros::kunit_tests(dax_kill_list)]
mod tests {
    use super::super::Pfn;
    use super::*;
    use kernel::prelude::*;

    struct Mm(usize);

    impl MmId for Mm {
        fn id(&self) -> usize {
            self.0
        }
    }

    /// A list that gets no more memory than it has at first, or as much as it asks for.
    struct TestStore {
        entries: KVec<ToKill<Mm>>,
        memory: bool,
    }

    impl TestStore {
        fn new(space: usize, memory: bool) -> Result<Self> {
            Ok(Self {
                entries: KVec::with_capacity(space, GFP_KERNEL)?,
                memory,
            })
        }
    }

    impl Store for TestStore {
        type Mm = Mm;

        fn entries(&mut self) -> &mut [ToKill<Mm>] {
            &mut self.entries
        }

        fn spare(&self) -> usize {
            self.entries.capacity() - self.entries.len()
        }

        fn reserve(&mut self, more: usize) {
            if self.memory {
                let _ = self.entries.reserve(more, GFP_KERNEL);
            }
        }

        fn push(&mut self, to_kill: ToKill<Mm>) -> Result<(), ToKill<Mm>> {
            self.entries.push_within_capacity(to_kill).map_err(|e| e.0)
        }

        fn truncate(&mut self, len: usize) {
            self.entries.truncate(len);
        }
    }

    /// Collects a page that each of `mms` maps. Returns how often it was visited, whether it was
    /// unmapped in the end, and how many processes were signalled meanwhile.
    fn collect(store: &mut TestStore, mms: &[usize]) -> Result<(u32, bool, usize)> {
        let (mut visits, mut unmapped, mut killed) = (0, false, 0);
        let mut kill_now = |list: &[ToKill<Mm>]| killed += list.len();

        collect_page(store, &mut kill_now, |collector| {
            visits += 1;
            for mm in mms {
                collector.add_to_kill(ToKill {
                    mm: Mm(*mm),
                    pfn: Pfn::from_raw(1),
                    address: Some(0x1000),
                    shift: 12,
                });
            }
            unmapped = collector.is_complete();
            Ok::<_, Error>(())
        })?;
        Ok((visits, unmapped, killed))
    }

    #[test]
    fn memory_for_all() -> Result {
        let mut store = TestStore::new(0, true)?;

        assert_eq!(collect(&mut store, &[1, 2, 1, 3])?, (1, true, 0));
        assert_eq!(deduped(&mut store).len(), 3);
        Ok(())
    }

    #[test]
    fn more_than_reserved() -> Result {
        let mut store = TestStore::new(0, true)?;
        let mut mms = [0; RESERVED + 1];

        for (n, mm) in mms.iter_mut().enumerate() {
            *mm = n;
        }
        assert_eq!(collect(&mut store, &mms)?, (2, true, 0));
        assert_eq!(deduped(&mut store).len(), RESERVED + 1);
        Ok(())
    }

    #[test]
    fn no_memory() -> Result {
        let mut store = TestStore::new(2, false)?;

        // 1 and 2 are signalled when there is no space for 3, which stays on the list.
        assert_eq!(collect(&mut store, &[1, 2, 3])?, (2, true, 2));
        assert_eq!(deduped(&mut store).len(), 1);
        Ok(())
    }

    #[test]
    fn no_space_at_all() -> Result {
        let mut store = TestStore::new(0, false)?;

        assert_eq!(collect(&mut store, &[1, 2])?, (2, true, 2));
        assert!(deduped(&mut store).is_empty());
        Ok(())
    }
}
