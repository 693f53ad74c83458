// SPDX-License-Identifier: GPL-2.0

//! Revoking DAX memory that failed, and signalling the processes that map it.
//!
//! C header: [`include/linux/dax_owners.h`](srctree/include/linux/dax_owners.h)

use crate::{
    bindings,
    dax::MfFlags,
    error::to_result,
    prelude::*,
    types::NotThreadSafe, //
};
use core::mem::MaybeUninit;

/// A failure that is being handled. When it is dropped, all processes that mapped the memory
/// through the owners that were named are signalled: each once, for the first of its pages.
///
/// # Invariants
///
/// The inner value was set up by `dax_notice_begin()`, and only `drop()` passes it to
/// `dax_notice_end()`.
pub struct Notice(MaybeUninit<bindings::dax_notice>, NotThreadSafe);

impl Notice {
    /// Begins to handle a failure.
    pub fn new(flags: MfFlags) -> Self {
        let mut notice = MaybeUninit::uninit();

        // SAFETY: `notice` is valid for writes and aligned.
        unsafe { bindings::dax_notice_begin(notice.as_mut_ptr(), flags.as_raw()) };
        // INVARIANT: Just set up. A `dax_notice` may be moved.
        Self(notice, NotThreadSafe)
    }

    /// Takes pages `index..index + count` of a file away from all processes.
    ///
    /// With `pfn` only where they are the page frames from this one on, so that a file which was
    /// truncated or remapped since the owner was looked up is left alone.
    ///
    /// Waits for faults on these pages: the caller must not hold a lock that a fault takes. Returns
    /// [`EBUSY`] if the file is not, or no longer, on DAX memory.
    ///
    /// # Safety
    ///
    /// `mapping` must be the `i_mapping` of an inode that the caller holds a reference to.
    pub unsafe fn owner(
        &mut self,
        mapping: *mut bindings::address_space,
        index: usize,
        count: usize,
        pfn: Option<usize>,
    ) -> Result {
        let pfn = pfn.unwrap_or(bindings::DAX_NOTICE_ANY_PFN as usize);

        // SAFETY: By the type invariant, the notice was set up and is not ended; `&mut self` means
        // that it is not in use. The inode stays, as the caller guarantees.
        to_result(unsafe {
            bindings::dax_notice_owner(self.0.as_mut_ptr(), mapping, index, count, pfn)
        })
    }
}

impl Drop for Notice {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, the notice was set up and is not ended. It is not used
        // after this.
        unsafe { bindings::dax_notice_end(self.0.as_mut_ptr()) };
    }
}
