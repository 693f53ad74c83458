// SPDX-License-Identifier: GPL-2.0

//! Revokes DAX memory that failed from all its owners, and signals the processes that mapped it.
//!
//! A page can have any number of owners, and each of them can be mapped by any number of
//! processes. Who knows the owners names them one after the other. What they have mapped is taken
//! away then and there, and which processes had is noted; in the end these are signalled, all in
//! one pass over the processes. So the time goes with owners, mapped areas and processes, and not
//! with their products.
//!
//! C header: [`include/linux/dax_owners.h`](srctree/include/linux/dax_owners.h)

#[path = "dax_owners/door.rs"]
mod door;
#[path = "dax_owners/signal.rs"]
mod signal;
#[path = "dax_owners/targets.rs"]
mod targets;

use door::{
    Entry,
    Mapping,
    SpaceRef,
    Thread, //
};
use kernel::{
    bindings,
    error::from_result,
    prelude::*,
    sync::rcu, //
};
use signal::{
    signal,
    Cause,
    Process,
    Signal, //
};
use targets::Target;

const __LOG_PREFIX: &[u8] = b"dax_owners\0";

/// Places for which there is room before the next page is looked at, if there is memory.
const ROOM: usize = 64;

/// A failure, and the processes that are still to be signalled for it.
struct Notice {
    targets: KVVec<Target<SpaceRef>>,
    cause: Cause,
}

impl Notice {
    fn new(mf_flags: u32) -> Self {
        let cause = if mf_flags & bindings::mf_flags_MF_MEM_PRE_REMOVE != 0 {
            Cause::Removal
        } else if mf_flags & bindings::mf_flags_MF_ACTION_REQUIRED != 0 {
            Cause::Consumed
        } else {
            Cause::Found
        };

        Self {
            targets: KVVec::new(),
            cause,
        }
    }

    /// Borrows a notice from its C pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must come from `dax_notice_begin()`, and not be used by anybody else for `'a`.
    unsafe fn from_raw<'a>(ptr: *mut bindings::dax_notice) -> &'a mut Self {
        // CAST: `dax_notice_begin()` put a `Self` there.
        // SAFETY: As the caller guarantees.
        unsafe { &mut *ptr.cast() }
    }

    /// Takes pages `index..index + count` of a file away from all processes, where they are page
    /// frames `pfn..` or this is `None`, and notes who had them.
    fn owner(
        &mut self,
        mapping: &Mapping,
        index: usize,
        count: usize,
        pfn: Option<usize>,
    ) -> Result {
        if !mapping.is_mapped() {
            return Ok(());
        }
        for n in 0..count {
            self.one(mapping, index + n, pfn.map(|pfn| pfn + n))?;
        }
        Ok(())
    }

    /// Takes one page of a file away, if it is page frame `pfn` or this is `None`.
    fn one(&mut self, mapping: &Mapping, index: usize, pfn: Option<usize>) -> Result {
        let mut room = ROOM;

        loop {
            self.make_room(room);
            let Some(entry) = mapping.lock(index)? else {
                return Ok(());
            };
            // The file may have been truncated or remapped since its owner was looked up.
            if pfn.is_some_and(|pfn| entry.pfn() != pfn) {
                return Ok(());
            }
            let areas = entry.count_areas();
            // Once more with room for all of them. If there is no memory, this will do.
            if areas > self.room() && room == ROOM {
                room = areas;
                continue;
            }
            self.page(&entry);
            return Ok(());
        }
    }

    /// Takes a page away from all processes and notes who had it.
    fn page(&mut self, entry: &Entry<'_>) {
        let mut largest = 0;

        entry.for_each_area(|area| {
            let Some(place) = area.place() else {
                return;
            };
            largest = largest.max(place.shift);
            self.note(Target {
                mm: area.space(),
                pfn: entry.pfn(),
                address: place.address,
                shift: place.shift,
            });
        });
        if largest > 0 {
            entry.unmap(largest);
        }
    }

    fn room(&self) -> usize {
        self.targets.capacity() - self.targets.len()
    }

    /// Sees that there is room for `more` targets. Called without locks: reclaim may want any.
    fn make_room(&mut self, more: usize) {
        if self.room() >= more {
            return;
        }
        self.settle();
        if self.room() < more {
            // Twice as much, so that this is rare. Failure is no error, see `note()`.
            let _ = self
                .targets
                .reserve(self.targets.len().max(more), GFP_KERNEL | __GFP_NOWARN);
        }
    }

    /// Notes a target. If there is no room, those that are known are signalled at once; this needs
    /// nothing that is not at hand with the page locked.
    fn note(&mut self, target: Target<SpaceRef>) {
        if self.targets.len() == self.targets.capacity() {
            self.settle();
        }
        if self.targets.len() == self.targets.capacity() {
            self.tell(&self.targets);
            self.targets.clear();
        }
        if let Err(e) = self.targets.push_within_capacity(target) {
            self.tell(&[e.0]);
        }
    }

    fn settle(&mut self) {
        let kept = targets::settle(&mut self.targets, self.cause == Cause::Removal);

        self.targets.truncate(kept);
    }

    /// Signals `targets`, which are settled.
    fn tell(&self, targets: &[Target<SpaceRef>]) {
        if targets.is_empty() {
            return;
        }
        let rcu = rcu::read_lock();
        let of = |id| targets.get(targets::of(targets, id)).unwrap_or(&[]);
        let current = Thread::current(&rcu).filter(|_| self.cause == Cause::Consumed);

        if let Some(current) = &current {
            for target in of(current.space_id()) {
                self.send(current, Process::Current, target);
            }
        }
        for leader in Thread::leaders(&rcu) {
            let id = leader.space_id();
            // A leader that has exited may have left threads behind.
            if leader.is_kernel() || (id != 0 && of(id).is_empty()) {
                continue;
            }
            // What the current one consumed it was told.
            if current.as_ref().is_some_and(|t| t.same_process(&leader)) {
                continue;
            }
            let early = leader.to_tell(true);
            let process = if early.is_some() {
                Process::Early
            } else {
                Process::Late
            };
            let Some(thread) = early.or_else(|| leader.to_tell(false)) else {
                continue;
            };
            for target in of(thread.space_id()) {
                self.send(&thread, process, target);
            }
        }
    }

    fn send(&self, thread: &Thread<'_>, process: Process, target: &Target<SpaceRef>) {
        let Some(signal) = signal(self.cause, process, target.address.is_some()) else {
            return;
        };
        thread.signal(
            target.pfn,
            target.address.filter(|_| signal != Signal::Kill),
            target.shift,
            signal == Signal::ActionRequired,
        );
    }

    fn end(mut self) {
        self.settle();
        self.tell(&self.targets);
    }
}

// A `Notice` is kept in the `dax_notice` of whoever asks.
static_assert!(size_of::<Notice>() <= size_of::<bindings::dax_notice>());
static_assert!(align_of::<Notice>() <= align_of::<bindings::dax_notice>());

/// Begins to handle a failure (`enum mf_flags`).
///
/// # Safety
///
/// `notice` must be valid for writing.
#[export]
pub unsafe extern "C" fn dax_notice_begin(notice: *mut bindings::dax_notice, mf_flags: c_int) {
    // CAST: The flags are bits.
    // SAFETY: As the caller guarantees, and there is room, as is asserted above.
    unsafe { notice.cast::<Notice>().write(Notice::new(mf_flags as u32)) };
}

/// Takes memory that failed away from those who map it through one of its owners.
///
/// The memory is pages `index..index + count` of a file, where these are page frames `pfn..`; or
/// whatever they are if `pfn` is `DAX_NOTICE_ANY_PFN`. Waits for faults on them: the caller must
/// not hold a lock that a page fault takes. Returns 0, or `-EBUSY` if the file is not, or no
/// longer, on DAX memory.
///
/// # Safety
///
/// `notice` must come from [`dax_notice_begin()`]; the caller must hold a reference to the inode
/// of `mapping`.
#[export]
pub unsafe extern "C" fn dax_notice_owner(
    notice: *mut bindings::dax_notice,
    mapping: *mut bindings::address_space,
    index: usize,
    count: usize,
    pfn: usize,
) -> c_int {
    // SAFETY: As the caller guarantees.
    let (notice, mapping) = unsafe { (Notice::from_raw(notice), Mapping::from_raw(mapping)) };
    let pfn = (pfn != bindings::DAX_NOTICE_ANY_PFN as usize).then_some(pfn);

    from_result(|| notice.owner(mapping, index, count, pfn).map(|()| 0))
}

/// Signals the processes that mapped the memory. The notice can't be used after that.
///
/// # Safety
///
/// `notice` must come from [`dax_notice_begin()`], and be used no more.
#[export]
pub unsafe extern "C" fn dax_notice_end(notice: *mut bindings::dax_notice) {
    // CAST: `dax_notice_begin()` put a `Notice` there.
    // SAFETY: As the caller guarantees.
    unsafe { notice.cast::<Notice>().read() }.end();
}
