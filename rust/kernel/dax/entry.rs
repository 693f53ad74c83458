// SPDX-License-Identifier: GPL-2.0

//! The entries of DAX files, which say where on a device a page of the file is.

use crate::{
    bindings,
    fs::{
        address_space::AddressSpace,
        super_block::{
            ActiveSuperBlock,
            SuperBlock, //
        }, //
    },
    page::{
        PageIndex,
        Pfn, //
    },
    prelude::*, //
};
use core::ptr::{
    null_mut,
    NonNull, //
};

/// Pages of a file that are consecutive page frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundPages {
    /// The first page in the file.
    pub index: PageIndex,
    /// Its page frame.
    pub pfn: Pfn,
    /// The number of pages, never zero.
    pub count: usize,
}

impl AddressSpace {
    /// Returns whether the file is accessed by DAX.
    ///
    /// This does not change while the inode is in memory.
    #[inline]
    pub fn is_dax(&self) -> bool {
        // SAFETY: By the type invariant, the address space and its host are valid.
        unsafe { bindings::dax_mapping(self.as_raw()) }
    }

    /// Locks the DAX entry of page `index`, or returns [`None`] if no device memory is known to be
    /// there, which means that no process maps it.
    ///
    /// Waits for page faults and writeback of the page, so the caller must not hold a lock that a
    /// page fault takes. Returns [`EBUSY`] if the file is not accessed by DAX.
    ///
    /// Corresponds to the C function `dax_lock_mapping_entry()`.
    pub fn lock_dax_entry(&self, index: PageIndex) -> Result<Option<LockedEntry<'_>>> {
        let mut page = null_mut();
        // SAFETY: By the type invariant, the address space is valid, also while the function waits
        // for an entry. The function itself checks that the file is accessed by DAX. `page` is
        // valid for writes.
        let cookie =
            unsafe { bindings::dax_lock_mapping_entry(self.as_raw(), index.as_raw(), &mut page) };

        if cookie == 0 {
            return Err(EBUSY);
        }
        let Some(page) = NonNull::new(page) else {
            // `page` is set whenever an entry is locked, so there is none to unlock.
            return Ok(None);
        };
        // SAFETY: `page` comes from `pfn_to_page()`. `page_to_pfn()` only computes with the
        // address, as DAX depends on `SPARSEMEM_VMEMMAP`.
        let pfn = Pfn::from_raw(unsafe { bindings::page_to_pfn(page.as_ptr()) });

        // INVARIANT: `dax_lock_mapping_entry()` locked the entry and returned `cookie` and `page`.
        Ok(Some(LockedEntry {
            mapping: self,
            index,
            cookie,
            pfn,
        }))
    }

    /// Finds the first pages from page `index` on that are any of the page frames
    /// `pfn..pfn + count`. There are none in a file that is not accessed by DAX.
    ///
    /// Waits for page faults that hold a locked entry, so the caller must not hold a lock that a
    /// page fault takes. No entry is locked when this returns: the answer may be outdated.
    ///
    /// Corresponds to the C function `dax_find_pfn()`.
    pub fn find_pfn(&self, index: PageIndex, pfn: Pfn, count: usize) -> Option<FoundPages> {
        let (mut index, mut pfn) = (index.as_raw(), pfn.as_raw());
        // SAFETY: By the type invariant, the address space is valid. The function itself checks
        // that the file is accessed by DAX. `index` and `pfn` are valid for writes.
        let count = unsafe { bindings::dax_find_pfn(self.as_raw(), &mut index, &mut pfn, count) };

        (count > 0).then_some(FoundPages {
            index: PageIndex::from_raw(index),
            pfn: Pfn::from_raw(pfn),
            count,
        })
    }
}

impl ActiveSuperBlock {
    /// Unmaps all DAX files of the filesystem and removes their DAX entries, so that no process and
    /// no inode refers to memory of the device. Data that was not written back is lost.
    ///
    /// Takes the `invalidate_lock` of each inode, which waits for page faults. So the caller must
    /// neither hold a lock of an inode, nor keep the filesystem frozen.
    ///
    /// Corresponds to the C function `dax_detach_super()`.
    ///
    /// # Safety
    ///
    /// The filesystem must have been shut down because its device is being removed, and its page
    /// faults must hold `invalidate_lock` and fail after a shutdown: otherwise they map memory that
    /// no entry stands for.
    #[inline]
    pub unsafe fn detach_dax(&self) {
        // SAFETY: By the type invariant, an active reference is held until `dax_detach_super()`
        // returns, so the list of inodes stays. The rest is as the caller guarantees.
        unsafe { bindings::dax_detach_super(self.as_raw()) };
    }
}

impl SuperBlock {
    /// Starts to walk the files that are accessed by DAX and that a process maps.
    ///
    /// # Safety
    ///
    /// `generic_shutdown_super()` must not begin for `'a`.
    #[inline]
    pub unsafe fn mapped_dax_files<'a>(&'a self) -> MappedFiles<'a> {
        // INVARIANT: The caller guarantees that the superblock is not shut down. `last` is null.
        MappedFiles {
            sb: self,
            last: null_mut(),
        }
    }
}

/// Walks the files of a superblock that are accessed by DAX and that a process maps.
///
/// Nothing is read from a device.
///
/// # Invariants
///
/// `generic_shutdown_super()` does not begin for `'a`. `last` is null or a reference to an inode of
/// `sb`.
pub struct MappedFiles<'a> {
    sb: &'a SuperBlock,
    /// The reference keeps the inode in the list of the superblock.
    last: *mut bindings::inode,
}

impl MappedFiles<'_> {
    /// Returns the next file, and drops the one before, maybe with its last reference. The caller
    /// must not hold a lock that an eviction takes.
    ///
    /// Corresponds to the C function `dax_next_mapped_inode()`.
    // It is no iterator: a file is borrowed until the next call.
    #[expect(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<&AddressSpace> {
        // INVARIANT: `last` becomes null or the reference that the function returns.
        // SAFETY: By the type invariant, the superblock is not shut down, and `last` is null or a
        // reference to one of its inodes, which is given up here.
        self.last = unsafe { bindings::dax_next_mapped_inode(self.sb.as_raw(), self.last) };
        if self.last.is_null() {
            return None;
        }
        // SAFETY: `last` is a reference to an inode, which is held for as long as `self` is
        // borrowed.
        Some(unsafe { AddressSpace::from_raw((*self.last).i_mapping) })
    }
}

impl Drop for MappedFiles<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant, `last` is null or a reference, which is given up here.
        unsafe { bindings::iput_async(self.last) };
    }
}

/// A DAX entry, locked until this is dropped. Page faults on its pages wait meanwhile.
///
/// # Invariants
///
/// `dax_lock_mapping_entry()` returned `cookie` for `mapping` and `index`, together with the page
/// whose page frame number is `pfn`. The entry is locked.
#[must_use = "if unused, the entry will be immediately unlocked"]
pub struct LockedEntry<'a> {
    mapping: &'a AddressSpace,
    index: PageIndex,
    cookie: bindings::dax_entry_t,
    pfn: Pfn,
}

impl<'a> LockedEntry<'a> {
    /// Returns the file.
    #[inline]
    pub fn mapping(&self) -> &'a AddressSpace {
        self.mapping
    }

    /// Returns the page of the file for which the entry was locked.
    #[inline]
    pub fn index(&self) -> PageIndex {
        self.index
    }

    /// Returns the page frame that the file has there.
    #[inline]
    pub fn pfn(&self) -> Pfn {
        self.pfn
    }

    /// Unmaps the page from all processes. If it is mapped by a huge page, all of that is unmapped;
    /// other pages of the entry stay. So do copies of the page that private mappings have made.
    ///
    /// Takes `i_mmap_rwsem` and the lock of each page table, which waits for tasks that move or
    /// change a page table entry. No process can map the page again before the entry is unlocked.
    ///
    /// Corresponds to the C function `unmap_mapping_pages()`.
    #[inline]
    pub fn unmap(&self) {
        // SAFETY: By its type invariant, the address space is valid.
        unsafe {
            bindings::unmap_mapping_pages(self.mapping.as_raw(), self.index.as_raw(), 1, false)
        };
    }
}

impl Drop for LockedEntry<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant, the entry is locked, and `cookie` belongs to it. By its
        // own type invariant, the address space is valid.
        unsafe {
            bindings::dax_unlock_mapping_entry(
                self.mapping.as_raw(),
                self.index.as_raw(),
                self.cookie,
            )
        };
    }
}
