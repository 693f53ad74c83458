// SPDX-License-Identifier: GPL-2.0

//! Address spaces: the pages of files, and the VMAs that map them.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h),
//! [`include/linux/mm.h`](srctree/include/linux/mm.h)

use crate::{
    bindings,
    mm::Mm,
    page::PageIndex,
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// The pages of a file.
///
/// Wraps the kernel's `struct address_space`.
///
/// # Invariants
///
/// A reference to the inode that this is the `i_mapping` of is held for as long as this is
/// borrowed, so the `address_space` stays valid and keeps its `host`.
#[repr(transparent)]
pub struct AddressSpace(Opaque<bindings::address_space>);

// SAFETY: The methods take `i_mmap_rwsem` or the lock of `i_pages` themselves, or read one word:
// `i_mmap`, or `i_flags` of `host`, which stays by the type invariant.
unsafe impl Sync for AddressSpace {}

impl AddressSpace {
    /// Borrows an address space from its C pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must be the `i_mapping` of an inode, and a reference to that inode must be held for
    /// `'a`.
    #[inline]
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::address_space) -> &'a Self {
        // INVARIANT: The caller guarantees the reference to the inode.
        // CAST: `Self` is transparent.
        // SAFETY: The inode, and its address space with it, stays for `'a`.
        unsafe { &*ptr.cast() }
    }

    /// Returns the C pointer.
    #[inline]
    pub fn as_raw(&self) -> *mut bindings::address_space {
        self.0.get()
    }

    /// Returns the number of the inode.
    #[inline]
    pub fn ino(&self) -> u64 {
        // SAFETY: By the type invariant, the address space keeps its host, whose number does not
        // change.
        unsafe { (*(*self.as_raw()).host).i_ino }
    }

    /// Reports to fanotify and the filesystem that `len` bytes of the file at `pos` are lost.
    ///
    /// Corresponds to the C function `fserror_report_data_lost()`, without recursion into
    /// filesystems.
    pub fn report_data_lost(&self, pos: u64, len: u64) {
        // SAFETY: By the type invariant, a reference to the host is held. CAST: Files end before
        // 2^63.
        unsafe {
            bindings::fserror_report_data_lost(
                (*self.as_raw()).host,
                pos as i64,
                len,
                bindings::GFP_NOFS,
            )
        };
    }

    /// Returns whether any VMA maps a part of the file.
    ///
    /// No lock is taken, so the answer may be outdated at once. If it is `false`, no page table
    /// referred to the file at that moment.
    #[inline]
    pub fn is_mapped(&self) -> bool {
        // SAFETY: By the type invariant, the address space is valid. `mapping_mapped()` only
        // compares the root of the tree of VMAs with null.
        unsafe { bindings::mapping_mapped(self.as_raw()) != 0 }
    }

    /// Locks `i_mmap_rwsem` for reading, so that no VMA joins or leaves the file.
    ///
    /// Corresponds to the C function `i_mmap_lock_read()`.
    #[inline]
    pub fn i_mmap_lock_read(&self) -> IMmapReadGuard<'_> {
        // SAFETY: By the type invariant, the address space is valid.
        unsafe { bindings::i_mmap_lock_read(self.as_raw()) };
        // INVARIANT: `i_mmap_rwsem` was locked just now, by this task.
        IMmapReadGuard {
            mapping: self,
            _not_send: NotThreadSafe,
        }
    }
}

/// `i_mmap_rwsem` of an [`AddressSpace`], locked for reading until this is dropped.
///
/// # Invariants
///
/// This task holds `i_mmap_rwsem` of `mapping` for reading.
#[must_use = "if unused, the lock will be immediately unlocked"]
pub struct IMmapReadGuard<'a> {
    mapping: &'a AddressSpace,
    _not_send: NotThreadSafe,
}

impl IMmapReadGuard<'_> {
    /// Returns the VMAs that cover page `index`, whether they have it in a page table or not.
    pub fn vmas(&self, index: PageIndex) -> impl Iterator<Item = FileVma<'_>> {
        let index = index.as_raw();
        // SAFETY: By the type invariant, `i_mmap_rwsem`, which guards the tree, is held.
        let mut next =
            unsafe { bindings::mapping_rmap_tree_iter_first(self.mapping.as_raw(), index, index) };

        core::iter::from_fn(move || {
            let vma = NonNull::new(next)?;

            // SAFETY: `vma` was found in the tree, and `i_mmap_rwsem` has been held since then.
            next = unsafe { bindings::mapping_rmap_tree_iter_next(vma.as_ptr(), index, index) };
            // INVARIANT: `vma` was found in the tree, and `self` is borrowed for as long as the
            // `FileVma` is.
            Some(FileVma(vma, PhantomData))
        })
    }
}

impl Drop for IMmapReadGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant, this task holds the lock.
        unsafe { bindings::i_mmap_unlock_read(self.mapping.as_raw()) };
    }
}

/// A VMA that maps a part of a file (`struct vm_area_struct`).
///
/// # Invariants
///
/// The VMA is in the `i_mmap` tree of a file whose `i_mmap_rwsem` is held for `'a`. Before the VMA,
/// the upper levels of its page tables or its `mm_struct` are freed, it is taken out of the tree,
/// with `i_mmap_rwsem` held for writing; so all of these stay for `'a`.
pub struct FileVma<'a>(
    NonNull<bindings::vm_area_struct>,
    PhantomData<&'a IMmapReadGuard<'a>>,
);

impl<'a> FileVma<'a> {
    /// Returns the C pointer.
    #[inline]
    pub fn as_raw(&self) -> *mut bindings::vm_area_struct {
        self.0.as_ptr()
    }

    /// Returns the `mm_struct` that the VMA belongs to.
    #[inline]
    pub fn mm(&self) -> &'a Mm {
        // SAFETY: By the type invariant, the VMA and its `mm_struct` stay for `'a`, and `vm_mm`
        // does not change. `exit_mmap()` takes the VMA out of the tree before the last reference to
        // the `mm_struct` is dropped, so its count is not zero.
        unsafe { Mm::from_raw((*self.0.as_ptr()).vm_mm) }
    }
}
