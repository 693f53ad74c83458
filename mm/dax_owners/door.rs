// SPDX-License-Identifier: GPL-2.0

//! The part of mm's C that is used here. Nothing else in this folder calls C.
//!
//! C headers: [`include/linux/dax_owners.h`](srctree/include/linux/dax_owners.h),
//! [`include/linux/dax.h`](srctree/include/linux/dax.h)

use super::targets::Space;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    error::code::*,
    mm::Mm,
    page::PAGE_SHIFT,
    prelude::*,
    sync::{
        aref::ARef,
        rcu, //
    },
    task::Task,
    types::Opaque, //
};

/// What stands for an address that can't be told.
// CAST: As C has it, `-EFAULT` in an `unsigned long`.
const NO_ADDRESS: usize = -(bindings::EFAULT as isize) as usize;

/// A file's pages (`struct address_space`).
///
/// # Invariants
///
/// This is the `i_mapping` of an inode, which is in use for as long as this is borrowed.
#[repr(transparent)]
pub(crate) struct Mapping(Opaque<bindings::address_space>);

impl Mapping {
    /// Borrows the pages of a file from their C pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must be the `i_mapping` of an inode, and a reference to the inode must be held for
    /// `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::address_space) -> &'a Self {
        // INVARIANT: As the caller guarantees. CAST: `Self` is transparent.
        // SAFETY: As the caller guarantees, the inode and its mapping stay for `'a`.
        unsafe { &*ptr.cast() }
    }

    fn as_raw(&self) -> *mut bindings::address_space {
        self.0.get()
    }

    /// Whether any process maps a part of the file. If not, no page table refers to it.
    pub(crate) fn is_mapped(&self) -> bool {
        // SAFETY: By the type invariant, the mapping is valid. No lock is needed: only the root of
        // the tree is compared with null. The answer may be outdated at once: a process that maps
        // the file from now on has not looked for marks yet.
        unsafe { bindings::mapping_mapped(self.as_raw()) != 0 }
    }

    /// Locks the DAX entry of page `index`, or returns `None` if no memory is known to be there,
    /// and so none is mapped.
    ///
    /// Waits for faults on the page and for its writeback, and keeps others out. Returns [`EBUSY`]
    /// if the file is not, or no longer, on DAX memory.
    pub(crate) fn lock(&self, index: usize) -> Result<Option<Entry<'_>>> {
        let mut page = core::ptr::null_mut();
        // SAFETY: By the type invariant, the mapping is valid, while an entry is waited for, too.
        // `page` may be written. `dax_lock_mapping_entry()` itself looks whether the file is on DAX
        // memory.
        let cookie = unsafe { bindings::dax_lock_mapping_entry(self.as_raw(), index, &mut page) };

        if cookie == 0 {
            return Err(EBUSY);
        }
        // INVARIANT: `dax_lock_mapping_entry()` sets `page` only where it locks the entry. If it is
        // null, there is nothing to unlock.
        Ok(NonNull::new(page).map(|page| Entry {
            mapping: self,
            index,
            cookie,
            // SAFETY: `page` comes from `pfn_to_page()`, and `page_to_pfn()` only computes: DAX
            // needs `SPARSEMEM_VMEMMAP`.
            pfn: unsafe { bindings::page_to_pfn(page.as_ptr()) },
        }))
    }
}

/// The entry of a DAX page, locked.
///
/// # Invariants
///
/// `cookie` comes from `dax_lock_mapping_entry()` for `mapping` and `index`, with the page whose
/// page frame number is `pfn`; the entry is locked until `drop()`.
pub(crate) struct Entry<'a> {
    mapping: &'a Mapping,
    index: usize,
    cookie: bindings::dax_entry_t,
    pfn: usize,
}

impl Entry<'_> {
    /// The page frame that is at this place of the file.
    pub(crate) fn pfn(&self) -> usize {
        self.pfn
    }

    /// Shows `visit` all areas of processes that cover the page.
    ///
    /// Runs under `i_mmap_rwsem`, held for reading, which keeps the areas and the address spaces
    /// that they belong to. Lock order: DAX entry, `i_mmap_rwsem`, page table, as in writeback.
    pub(crate) fn for_each_area(&self, mut visit: impl FnMut(&Area<'_>)) {
        let mapping = self.mapping.as_raw();
        let index = self.index;

        // SAFETY: By its invariant, the mapping is valid. `i_mmap_rwsem` is taken inside of the
        // entry's lock.
        unsafe { bindings::i_mmap_lock_read(mapping) };
        // SAFETY: `i_mmap_rwsem`, which guards the tree, is held.
        let mut next = unsafe { bindings::mapping_rmap_tree_iter_first(mapping, index, index) };
        while let Some(vma) = NonNull::new(next) {
            // INVARIANT: The area was found in the tree, and `i_mmap_rwsem` is held until `visit`,
            // which can't keep a reference, has returned.
            visit(&Area { vma, entry: self });
            // SAFETY: `i_mmap_rwsem` has been held since `vma` was found in the tree.
            next = unsafe { bindings::mapping_rmap_tree_iter_next(vma.as_ptr(), index, index) };
        }
        // SAFETY: `i_mmap_rwsem` was taken above, by this task.
        unsafe { bindings::i_mmap_unlock_read(mapping) };
    }

    /// Takes the page away from all processes. Where a huge page maps it, that goes as a whole;
    /// other pages stay. Copies that private mappings made of it stay, too.
    ///
    /// Takes the lock of each page table, and so meets a page that another task moves or changes
    /// at the moment; a huge page is moved with `i_mmap_rwsem` held for writing. Nobody gets it
    /// back before the entry is unlocked.
    pub(crate) fn unmap(&self) {
        // SAFETY: By its invariant, the mapping is valid. `unmap_mapping_pages()` takes
        // `i_mmap_rwsem`, which `for_each_area()` has dropped when it returns.
        unsafe { bindings::unmap_mapping_pages(self.mapping.as_raw(), self.index, 1, false) };
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, the entry is locked, with this cookie. By its own, the
        // mapping is valid.
        unsafe {
            bindings::dax_unlock_mapping_entry(self.mapping.as_raw(), self.index, self.cookie)
        };
    }
}

/// An area of a process (`struct vm_area_struct`) that covers a page.
///
/// # Invariants
///
/// `vma` is in the `i_mmap` tree of the entry's mapping, and covers the entry's page.
/// `i_mmap_rwsem` is held for reading for as long as this can be used: before `vma`, the upper
/// levels of its page tables, or the `mm_struct` are freed, `vma` is taken out of the tree, with
/// `i_mmap_rwsem` held for writing.
pub(crate) struct Area<'a> {
    vma: NonNull<bindings::vm_area_struct>,
    entry: &'a Entry<'a>,
}

/// Where an area has a page.
pub(crate) struct Place {
    /// Virtual address, or `None` if it can't be told.
    pub(crate) address: Option<usize>,
    /// log2 of the bytes that are mapped together with it, 0 if it is not mapped at present.
    pub(crate) shift: u32,
}

impl Area<'_> {
    /// Where the page is in the area, or `None` if the area is private and does not map the page,
    /// as it has a copy, or has not been touched there.
    pub(crate) fn place(&self) -> Option<Place> {
        let mut address: c_ulong = 0;
        // SAFETY: By the type invariant, the area stays, and it covers page `index`. A page table
        // that is empty may be freed meanwhile, but under RCU, and `page_vma_mapped_walk()` takes
        // its lock by `pte_offset_map_lock()`, which looks for that. `address` may be written.
        let shift = unsafe {
            bindings::mf_dax_mapping_shift(
                self.vma.as_ptr(),
                self.entry.index,
                self.entry.pfn,
                &mut address,
            )
        };

        // Negative if the page is not there.
        Some(Place {
            address: (address != NO_ADDRESS).then_some(address),
            shift: u32::try_from(shift).ok()?,
        })
    }

    /// The address space that the area belongs to.
    pub(crate) fn space(&self) -> SpaceRef {
        // SAFETY: By the type invariant, the area stays, and `vm_mm` does not change. `exit_mmap()`
        // takes the area out of the tree before the `mm_struct` loses its last reference, so the
        // count is not zero when another one is taken.
        SpaceRef(unsafe { Mm::from_raw((*self.vma.as_ptr()).vm_mm) }.into())
    }
}

/// A reference to an address space that keeps no memory mapped. While it lives there is no other
/// with the same number.
pub(crate) struct SpaceRef(ARef<Mm>);

impl Space for SpaceRef {
    fn id(&self) -> usize {
        self.0.as_raw().addr()
    }
}

/// A thread.
///
/// # Invariants
///
/// The task was found in an RCU section that lasts for `'a`, or is the current one. So it is valid
/// for `'a` and its count is not zero: the reference that `release_task()` gives up is dropped
/// after a grace period, by `delayed_put_task_struct()`.
pub(crate) struct Thread<'a>(NonNull<bindings::task_struct>, PhantomData<&'a rcu::Guard>);

impl<'a> Thread<'a> {
    /// The one that runs this.
    pub(crate) fn current(_rcu: &'a rcu::Guard) -> Option<Self> {
        // INVARIANT: This is the current task, and a `Thread` can't leave it: it is not `Send`.
        // SAFETY: `get_current()` may be called in any context.
        NonNull::new(unsafe { bindings::get_current() }).map(|task| Self(task, PhantomData))
    }

    /// All processes, each told by the thread that leads it.
    pub(crate) fn leaders(_rcu: &'a rcu::Guard) -> impl Iterator<Item = Self> + 'a {
        let init = &raw mut bindings::init_task;
        let mut last = init;

        core::iter::from_fn(move || {
            // SAFETY: `last` is `init_task`, which stays, or was found in the list of processes
            // during the RCU section that lasts for `'a`: its memory and its `next` stay.
            last = unsafe { bindings::next_task(last) };
            // INVARIANT: Found during the RCU section that lasts for `'a`.
            NonNull::new(last)
                .filter(|task| task.as_ptr() != init)
                .map(|task| Self(task, PhantomData))
        })
    }

    /// Takes a reference, which outlives the RCU section.
    pub(crate) fn get(&self) -> ThreadRef {
        // CAST: `Task` is transparent.
        // SAFETY: By the type invariant, the task is valid, and its count is not zero.
        ThreadRef(unsafe { self.0.cast::<Task>().as_ref() }.into())
    }

    /// Whether it is a thread of the kernel.
    pub(crate) fn is_kernel(&self) -> bool {
        // SAFETY: By the type invariant, the task is valid. It may change other flags meanwhile,
        // hence the volatile read; `PF_KTHREAD` does not change.
        unsafe { (&raw const (*self.0.as_ptr()).flags).read_volatile() & bindings::PF_KTHREAD != 0 }
    }

    /// Number of the address space, 0 if it has none. Only to be compared.
    pub(crate) fn space_id(&self) -> usize {
        // SAFETY: By the type invariant, the task is valid. `mm` may change meanwhile, which is why
        // the read is volatile. It is not dereferenced.
        unsafe { (&raw const (*self.0.as_ptr()).mm).read_volatile() }.addr()
    }

    /// The thread of the process that this one leads which asked to be told early, or if not
    /// `early` any that lives; or `None`.
    pub(crate) fn to_tell(&self, early: bool) -> Option<Self> {
        // INVARIANT: A thread in the list of a process, found during the RCU section of `'a`.
        // SAFETY: By the type invariant, the task is valid, and so is its `signal`, which
        // `__put_task_struct()` drops. The list of threads is walked under RCU, for `'a`.
        NonNull::new(unsafe { bindings::mf_dax_thread(self.0.as_ptr(), early) })
            .map(|task| Self(task, PhantomData))
    }

    /// Whether both are threads of one process.
    pub(crate) fn same_process(&self, other: &Self) -> bool {
        // SAFETY: By the type invariant, both tasks are valid. `signal` is set before a task can be
        // found and does not change.
        unsafe { (*self.0.as_ptr()).signal == (*other.0.as_ptr()).signal }
    }
}

/// A reference to a thread.
pub(crate) struct ThreadRef(ARef<Task>);

impl ThreadRef {
    fn as_raw(&self) -> *mut bindings::task_struct {
        // CAST: `Task` is transparent.
        core::ptr::from_ref::<Task>(&self.0).cast_mut().cast()
    }

    /// Sends SIGBUS for a page at `address`, or SIGKILL if there is none. Prints nothing. Returns
    /// 0, or why it could not be sent.
    pub(crate) fn signal(&self, address: Option<usize>, shift: u32, required: bool) -> c_int {
        let flags = if required {
            bindings::mf_flags_MF_ACTION_REQUIRED
        } else {
            0
        };
        // What is not mapped now would have been with the size of a page.
        let shift = shift.max(PAGE_SHIFT as u32);

        // SAFETY: We own a reference to the task. `mf_dax_signal()` takes its `siglock`, and copes
        // with a task that exits. It is only compared with the current one. CAST: All are small.
        unsafe {
            bindings::mf_dax_signal(
                self.as_raw(),
                address.unwrap_or(NO_ADDRESS),
                shift as i16,
                flags as c_int,
            )
        }
    }

    /// Prints that a signal was sent for page frame `pfn`, or that it could not be.
    pub(crate) fn print_signal(&self, pfn: usize, address: Option<usize>, ret: c_int) {
        // SAFETY: We own a reference to the task. `comm` is read as it is: it always ends with a
        // zero.
        unsafe {
            bindings::mf_dax_print_signal(self.as_raw(), pfn, address.unwrap_or(NO_ADDRESS), ret)
        };
    }
}

/// A walk of all processes that may leave the RCU section and go on in another. It takes longer
/// than [`Thread::leaders()`].
pub(crate) struct Processes {
    /// Where it goes on, or `None` at its end.
    next: Option<bindings::pid_t>,
}

impl Processes {
    pub(crate) fn all() -> Self {
        Self { next: Some(1) }
    }

    /// The processes from where it stands, each told by the thread that leads it.
    pub(crate) fn rest<'a>(
        &'a mut self,
        _rcu: &'a rcu::Guard,
    ) -> impl Iterator<Item = Thread<'a>> + 'a {
        core::iter::from_fn(move || {
            let mut id = self.next?;
            // SAFETY: `id` may be written, and the RCU section, in which ids and tasks are looked
            // up, lasts for `'a`.
            let task = NonNull::new(unsafe { bindings::mf_dax_next_process(&mut id) });

            self.next = task.and_then(|_| id.checked_add(1));
            // INVARIANT: Found during the RCU section that lasts for `'a`.
            task.map(|task| Thread(task, PhantomData))
        })
    }
}
