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
#[repr(transparent)]
pub(crate) struct Mapping(Opaque<bindings::address_space>);

impl Mapping {
    /// Borrows the pages of a file from their C pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must point to the `address_space` of an inode that somebody holds a reference to for
    /// `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::address_space) -> &'a Self {
        // CAST: `Self` is transparent.
        // SAFETY: As the caller guarantees.
        unsafe { &*ptr.cast() }
    }

    fn as_raw(&self) -> *mut bindings::address_space {
        self.0.get()
    }

    /// Whether any process maps a part of the file. If not, no page table refers to it.
    pub(crate) fn is_mapped(&self) -> bool {
        // SAFETY: The mapping is valid. The answer may be outdated at once: who maps the file from
        // now on has not looked for marks yet.
        unsafe { bindings::mapping_mapped(self.as_raw()) != 0 }
    }

    /// Locks the DAX entry of page `index`, or returns `None` if no memory is known to be there,
    /// and so none is mapped.
    ///
    /// Waits for faults on the page and for its writeback, and keeps others out. Returns [`EBUSY`]
    /// if the file is not, or no longer, on DAX memory.
    pub(crate) fn lock(&self, index: usize) -> Result<Option<Entry<'_>>> {
        let mut page = core::ptr::null_mut();
        // SAFETY: The mapping is valid, and `page` may be written.
        let cookie = unsafe { bindings::dax_lock_mapping_entry(self.as_raw(), index, &mut page) };

        if cookie == 0 {
            return Err(EBUSY);
        }
        // INVARIANT: A page is returned with the lock only.
        Ok(NonNull::new(page).map(|page| Entry {
            mapping: self,
            index,
            cookie,
            // SAFETY: The page of an entry is valid while the entry is locked.
            pfn: unsafe { bindings::page_to_pfn(page.as_ptr()) },
        }))
    }
}

/// The entry of a DAX page, locked.
///
/// # Invariants
///
/// `cookie` comes from `dax_lock_mapping_entry()` for `mapping` and `index`, with a page.
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
    /// Runs under `i_mmap_rwsem`, held for reading, which keeps the areas, their page tables and
    /// the address spaces that they belong to. Lock order: DAX entry, `i_mmap_rwsem`, page table,
    /// as in writeback.
    pub(crate) fn for_each_area(&self, mut visit: impl FnMut(&Area<'_>)) {
        let mapping = self.mapping.as_raw();
        let index = self.index;

        // SAFETY: The mapping is valid.
        unsafe { bindings::i_mmap_lock_read(mapping) };
        // SAFETY: The tree is locked.
        let mut next = unsafe { bindings::mapping_rmap_tree_iter_first(mapping, index, index) };
        while let Some(vma) = NonNull::new(next) {
            // INVARIANT: The area is in the tree of the mapping, which is locked.
            visit(&Area { vma, entry: self });
            // SAFETY: The tree is locked, and has been since `vma` was found in it.
            next = unsafe { bindings::mapping_rmap_tree_iter_next(vma.as_ptr(), index, index) };
        }
        // SAFETY: Locked above.
        unsafe { bindings::i_mmap_unlock_read(mapping) };
    }

    /// Takes the page away from all processes. Where a huge page maps it, that goes as a whole;
    /// other pages stay. Copies that private mappings made of it stay, too.
    ///
    /// Takes the lock of each page table, and so meets a page that another task moves or changes
    /// at the moment; a huge page is moved with `i_mmap_rwsem` held for writing. Nobody gets it
    /// back before the entry is unlocked.
    pub(crate) fn unmap(&self) {
        // SAFETY: The mapping is valid, and `i_mmap_rwsem` is not held.
        unsafe { bindings::unmap_mapping_pages(self.mapping.as_raw(), self.index, 1, false) };
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, the entry is locked, with this cookie.
        unsafe {
            bindings::dax_unlock_mapping_entry(self.mapping.as_raw(), self.index, self.cookie)
        };
    }
}

/// An area of a process (`struct vm_area_struct`) that covers a page.
///
/// # Invariants
///
/// `vma` is in the tree of the entry's mapping, which is locked.
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
        // SAFETY: By the type invariant, the area is valid, and its page tables are.
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
        // SAFETY: By the type invariant, the area is valid. It is taken out of the tree before its
        // address space gives up the last reference to itself.
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
/// `task` is valid for `'a`.
pub(crate) struct Thread<'a>(NonNull<bindings::task_struct>, PhantomData<&'a rcu::Guard>);

impl<'a> Thread<'a> {
    /// The one that runs this.
    pub(crate) fn current(_rcu: &'a rcu::Guard) -> Option<Self> {
        // INVARIANT: The current task lives on.
        // SAFETY: May be called in any context.
        NonNull::new(unsafe { bindings::get_current() }).map(|task| Self(task, PhantomData))
    }

    /// All processes, each told by the thread that leads it.
    pub(crate) fn leaders(_rcu: &'a rcu::Guard) -> impl Iterator<Item = Self> + 'a {
        let init = &raw mut bindings::init_task;
        let mut last = init;

        core::iter::from_fn(move || {
            // SAFETY: `last` is `init_task` or was found in the list of processes during the RCU
            // section that still goes on.
            last = unsafe { bindings::next_task(last) };
            // INVARIANT: Found during the RCU section that lives for `'a`.
            NonNull::new(last)
                .filter(|task| task.as_ptr() != init)
                .map(|task| Self(task, PhantomData))
        })
    }

    /// Takes a reference, which outlives the RCU section.
    pub(crate) fn get(&self) -> ThreadRef {
        // CAST: `Task` is transparent.
        // SAFETY: By the type invariant, the task is valid.
        ThreadRef(unsafe { self.0.cast::<Task>().as_ref() }.into())
    }

    /// Whether it is a thread of the kernel.
    pub(crate) fn is_kernel(&self) -> bool {
        // SAFETY: By the type invariant, the task is valid. This flag does not change.
        unsafe { (&raw const (*self.0.as_ptr()).flags).read_volatile() & bindings::PF_KTHREAD != 0 }
    }

    /// Number of the address space, 0 if it has none. Only to be compared.
    pub(crate) fn space_id(&self) -> usize {
        // SAFETY: By the type invariant, the task is valid. The pointer may change any time.
        unsafe { (&raw const (*self.0.as_ptr()).mm).read_volatile() }.addr()
    }

    /// The thread of the process that this one leads which asked to be told early, or if not
    /// `early` any that lives; or `None`.
    pub(crate) fn to_tell(&self, early: bool) -> Option<Self> {
        // SAFETY: The task is valid, and the RCU section goes on.
        NonNull::new(unsafe { bindings::mf_dax_thread(self.0.as_ptr(), early) })
            .map(|task| Self(task, PhantomData))
    }

    /// Whether both are threads of one process.
    pub(crate) fn same_process(&self, other: &Self) -> bool {
        // SAFETY: By the type invariant, both tasks are valid; `signal` is cleared only when a
        // task is freed.
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

        // SAFETY: We own a reference to the task. CAST: All are small.
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
        // SAFETY: We own a reference to the task.
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
            // SAFETY: `id` may be written, and the RCU section goes on.
            let task = NonNull::new(unsafe { bindings::mf_dax_next_process(&mut id) });

            self.next = task.and_then(|_| id.checked_add(1));
            // INVARIANT: Found during the RCU section that lives for `'a`.
            task.map(|task| Thread(task, PhantomData))
        })
    }
}
