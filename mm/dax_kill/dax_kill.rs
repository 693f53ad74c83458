// SPDX-License-Identifier: GPL-2.0

//! Revokes DAX memory that failed from all its owners, and signals the processes that map it.
//!
//! A page of a device can have any number of owners, which are files, and each owner can be mapped
//! by any number of processes. The caller passes owners one by one. Each owner's mappings are
//! zapped at once and the affected `mm_struct`s recorded; one walk of the process list then sends
//! all signals. Cost: O(owners + VMAs + processes).
//!
//! # Lock order
//!
//! 1. `mf_mutex`, which `memory_failure()` holds when it notifies the holder of a DAX device.
//! 2. The lock of a DAX entry. It waits for page faults, which hold it while they take locks of the
//!    filesystem: the caller of [`dax_kill_collect()`] holds no lock that a page fault takes.
//! 3. `i_mmap_rwsem`, for reading, as in writeback. It keeps the VMAs of the file, the upper levels
//!    of their page tables and their `mm_struct`s.
//! 4. The lock of a page table, or the `siglock` of a process.
//!
//! `siglock` is taken inside of 2 and 3 only if the list has no room for all mappings: there is no
//! memory, or there were more at the second visit. An RCU section, in which tasks are looked for,
//! takes no lock. Memory for the list is allocated, and messages are printed, outside of 2, so that
//! page faults wait for neither.
//!
//! C header: [`include/linux/dax_kill.h`](srctree/include/linux/dax_kill.h)

mod kill_procs;
mod list;
mod signal;
mod task;
mod to_kill;
mod vma;

use kernel::{
    bindings,
    dax::{
        LockedEntry,
        MfFlag,
        MfFlags, //
    },
    error::from_result,
    fs::address_space::AddressSpace,
    mm::Mm,
    page::{
        PageIndex,
        Pfn, //
    },
    prelude::*,
    sync::aref::ARef, //
};
use kill_procs::kill_procs;
use list::{
    PageCollector,
    Store, //
};
use signal::FailureKind;
use to_kill::{
    MmId,
    ToKill, //
};
use vma::VmaAddress;

const __LOG_PREFIX: &[u8] = b"dax_kill\0";

/// While the reference lives, no other `mm_struct` has the same address.
impl MmId for ARef<Mm> {
    fn id(&self) -> usize {
        self.as_raw().addr()
    }
}

type List = KVVec<ToKill<ARef<Mm>>>;

impl Store for List {
    type Mm = ARef<Mm>;

    fn entries(&mut self) -> &mut [ToKill<ARef<Mm>>] {
        self
    }

    fn spare(&self) -> usize {
        self.capacity() - self.len()
    }

    fn reserve(&mut self, more: usize) {
        // If this fails, processes are signalled when the list is full.
        let _ = self.reserve(more, GFP_KERNEL | __GFP_NOWARN);
    }

    fn push(&mut self, to_kill: ToKill<ARef<Mm>>) -> Result<(), ToKill<ARef<Mm>>> {
        self.push_within_capacity(to_kill).map_err(|e| e.0)
    }

    fn truncate(&mut self, len: usize) {
        self.truncate(len);
    }
}

/// The content of a `struct dax_kill_list`.
struct DaxKillList {
    to_kill: List,
    kind: FailureKind,
}

impl DaxKillList {
    fn new(flags: MfFlags) -> Self {
        let kind = if flags.contains(MfFlag::MemPreRemove) {
            FailureKind::Removal
        } else if flags.contains(MfFlag::ActionRequired) {
            FailureKind::Consumed
        } else {
            FailureKind::Found
        };

        Self {
            to_kill: KVVec::new(),
            kind,
        }
    }

    /// Borrows a list from its C pointer.
    ///
    /// # Safety
    ///
    /// [`dax_kill_init()`] must have initialized `ptr`, [`dax_kill_procs()`] must not have been
    /// called for it, and it must not be accessed in any other way for `'a`.
    unsafe fn from_raw<'a>(ptr: *mut bindings::dax_kill_list) -> &'a mut Self {
        // CAST: `dax_kill_init()` has written a `Self` there.
        // SAFETY: The caller guarantees that a valid `Self` is there, and that this is the only
        // access to it.
        unsafe { &mut *ptr.cast() }
    }

    /// Revokes pages `index..index + count` of a file and records the `mm_struct`s that map them;
    /// if `pfn` is given, only pages that have the page frames from `pfn` on.
    fn collect(
        &mut self,
        mapping: &AddressSpace,
        index: PageIndex,
        count: usize,
        pfn: Option<Pfn>,
    ) -> Result {
        // A process that maps the file from now on has not checked PG_hwpoison yet.
        if !mapping.is_mapped() {
            return Ok(());
        }
        for n in 0..count {
            let index = index.checked_add(n).ok_or(EINVAL)?;
            let pfn = match pfn {
                Some(pfn) => Some(pfn.checked_add(n).ok_or(EINVAL)?),
                None => None,
            };

            self.collect_page(mapping, index, pfn)?;
        }
        Ok(())
    }

    /// Revokes one page of a file and records the `mm_struct`s that map it.
    fn collect_page(
        &mut self,
        mapping: &AddressSpace,
        index: PageIndex,
        pfn: Option<Pfn>,
    ) -> Result {
        let kind = self.kind;
        // Called with the entry locked, so nothing is printed.
        let mut kill_now = |list: &[_]| kill_procs(kind, list, false);

        list::collect_page(&mut self.to_kill, &mut kill_now, |collector| {
            let Some(entry) = mapping.lock_dax_entry(index)? else {
                return Ok(());
            };
            // The file may have been truncated or remapped since its owner was looked up.
            if pfn.is_none_or(|pfn| entry.pfn() == pfn) {
                revoke(&entry, collector);
            }
            Ok(())
        })
    }

    /// Signals the processes that were recorded.
    fn kill_procs(mut self) {
        kill_procs(self.kind, list::deduped(&mut self.to_kill), true);
    }
}

/// Records the `mm_struct`s that map a page, and unmaps it if there was space for all of them.
fn revoke(entry: &LockedEntry<'_>, collector: &mut PageCollector<'_, List>) {
    let mut covered = false;

    for vma in entry.mapping().i_mmap_lock_read().vmas(entry.index()) {
        covered = true;
        if let Some(at) = VmaAddress::of(&vma, entry) {
            collector.add_to_kill(ToKill {
                mm: vma.mm().into(),
                pfn: entry.pfn(),
                address: at.address,
                shift: at.shift,
            });
        }
    }
    // Even if no VMA maps the page: `mremap()` may be moving the page table entry.
    if covered && collector.is_complete() {
        entry.unmap();
    }
}

// A `DaxKillList` is stored in the caller's `dax_kill_list`.
static_assert!(size_of::<DaxKillList>() <= size_of::<bindings::dax_kill_list>());
static_assert!(align_of::<DaxKillList>() <= align_of::<bindings::dax_kill_list>());

/// Initializes a list for a failure. `mf_flags` is a set of `enum mf_flags`.
///
/// # Safety
///
/// `list` must be valid for writes and aligned.
#[export]
pub unsafe extern "C" fn dax_kill_init(list: *mut bindings::dax_kill_list, mf_flags: c_int) {
    let content = DaxKillList::new(MfFlags::from_raw(mf_flags));

    // CAST: A `dax_kill_list` is at least as large as a `DaxKillList`, and as much aligned, which
    // is asserted above.
    // SAFETY: The caller guarantees that `list` is valid for writes and aligned.
    unsafe { list.cast::<DaxKillList>().write(content) };
}

/// Revokes memory that failed from the processes that map it through one of its owners, and adds
/// these processes to the list.
///
/// The memory is pages `index..index + count` of a file, as far as they have the page frames from
/// `pfn` on, or any if `pfn` is `DAX_KILL_ANY_PFN`. Waits for page faults on these pages: the
/// caller must not hold a lock that a page fault takes. Returns 0, `-EBUSY` if the file is not
/// accessed by DAX, or `-EINVAL` if there are no such page numbers.
///
/// # Safety
///
/// [`dax_kill_init()`] must have initialized `list`, [`dax_kill_procs()`] must not have been called
/// for it, and no other task may use it meanwhile. `mapping` must be the `i_mapping` of an inode
/// that the caller holds a reference to.
#[export]
pub unsafe extern "C" fn dax_kill_collect(
    list: *mut bindings::dax_kill_list,
    mapping: *mut bindings::address_space,
    index: usize,
    count: usize,
    pfn: usize,
) -> c_int {
    // SAFETY: The caller guarantees that the list is initialized and used by this call only, and
    // holds a reference to the inode of `mapping` until this returns.
    let (list, mapping) = unsafe { (DaxKillList::from_raw(list), AddressSpace::from_raw(mapping)) };
    // CAST: In C, this is an `unsigned long`.
    let pfn = (pfn != bindings::DAX_KILL_ANY_PFN as usize).then_some(Pfn::from_raw(pfn));

    from_result(|| {
        list.collect(mapping, PageIndex::from_raw(index), count, pfn)?;
        Ok(0)
    })
}

/// Signals the processes on the list: each once, for the first page of the failure that it maps.
/// The list must be initialized again before it is used again.
///
/// # Safety
///
/// [`dax_kill_init()`] must have initialized `list`. No other task may use it meanwhile, and it
/// must not be used after this, but for another [`dax_kill_init()`].
#[export]
pub unsafe extern "C" fn dax_kill_procs(list: *mut bindings::dax_kill_list) {
    // CAST: `dax_kill_init()` has written a `DaxKillList` there.
    // SAFETY: The caller guarantees that a valid `DaxKillList` is there, and that it is not used
    // after it is moved out here.
    unsafe { list.cast::<DaxKillList>().read() }.kill_procs();
}
