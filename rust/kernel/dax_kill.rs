// SPDX-License-Identifier: GPL-2.0

//! Revoking DAX memory that failed, and signalling the processes that map it.
//!
//! C header: [`include/linux/dax_kill.h`](srctree/include/linux/dax_kill.h)

use crate::{
    bindings,
    dax::{
        FoundPages,
        MappedFiles,
        MfFlags, //
    },
    error::to_result,
    fs::address_space::AddressSpace,
    page::{
        PageIndex,
        Pfn, //
    },
    prelude::*,
    types::NotThreadSafe, //
};
use core::mem::MaybeUninit;

/// The processes to signal because of a memory failure.
///
/// A page of a device can have any number of owners, which are files. The caller passes them to
/// [`KillList::collect()`] one by one: it revokes the page from all processes that map it there,
/// and collects their `mm_struct`s. [`KillList::kill_procs()`] signals all of these processes.
///
/// # Invariants
///
/// `dax_kill_init()` has initialized the inner value, and only `drop()` passes it to
/// `dax_kill_procs()`.
#[must_use = "processes are signalled when it is dropped, or by `kill_procs()`"]
pub struct KillList(MaybeUninit<bindings::dax_kill_list>, NotThreadSafe);

impl KillList {
    /// Creates an empty list for a failure.
    ///
    /// Corresponds to the C function `dax_kill_init()`.
    pub fn new(flags: MfFlags) -> Self {
        let mut list = MaybeUninit::uninit();

        // SAFETY: `list` is valid for writes and aligned.
        unsafe { bindings::dax_kill_init(list.as_mut_ptr(), flags.as_raw()) };
        // INVARIANT: `list` was just initialized. A `dax_kill_list` may be moved.
        Self(list, NotThreadSafe)
    }

    /// Revokes pages `index..index + count` of a file from all processes that map them, and adds
    /// these processes to the list.
    ///
    /// If `pfn` is given, only pages that have the page frames from `pfn` on are revoked: the file
    /// may have been truncated or remapped since the caller looked it up as the owner.
    ///
    /// Waits for page faults on these pages, so the caller must not hold a lock that a page fault
    /// takes. Returns [`EBUSY`] if the file is not accessed by DAX, or [`EINVAL`] if there are no
    /// such page numbers.
    ///
    /// Corresponds to the C function `dax_kill_collect()`.
    pub fn collect(
        &mut self,
        mapping: &AddressSpace,
        index: PageIndex,
        count: usize,
        pfn: Option<Pfn>,
    ) -> Result {
        // CAST: In C, this is an `unsigned long`.
        let pfn = pfn.map_or(bindings::DAX_KILL_ANY_PFN as usize, Pfn::as_raw);

        // SAFETY: By the type invariant, the list is initialized, and `&mut self` is the only
        // reference to it. By its type invariant, a reference to the inode of `mapping` is held.
        to_result(unsafe {
            bindings::dax_kill_collect(
                self.0.as_mut_ptr(),
                mapping.as_raw(),
                index.as_raw(),
                count,
                pfn,
            )
        })
    }

    /// Revokes the page frames `pfn..pfn + count` from all processes that map them in `files`, and
    /// adds these processes to the list. Calls `visit` for the pages of each file.
    ///
    /// The caller must not hold a lock that a page fault takes. If a file can't be handled, the
    /// others are, and the first error is returned.
    pub fn collect_mapped(
        &mut self,
        mut files: MappedFiles<'_>,
        pfn: Pfn,
        count: usize,
        mut visit: impl FnMut(&AddressSpace, FoundPages),
    ) -> Result {
        let mut res = Ok(());

        while let Some(mapping) = files.next() {
            let mut index = PageIndex::from_raw(0);

            while let Some(found) = mapping.find_pfn(index, pfn, count) {
                res = res.and(self.collect(mapping, found.index, found.count, Some(found.pfn)));
                visit(mapping, found);
                index = found.index + found.count;
            }
        }
        res
    }

    /// Signals the processes on the list: each once, for the first page of the failure that it
    /// maps.
    ///
    /// A list that is dropped instead signals them as well.
    ///
    /// Corresponds to the C function `dax_kill_procs()`.
    pub fn kill_procs(self) {
        drop(self);
    }
}

impl Drop for KillList {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, the list is initialized, and this is the only call of
        // `dax_kill_procs()` for it. It is not used after this.
        unsafe { bindings::dax_kill_procs(self.0.as_mut_ptr()) };
    }
}
