// SPDX-License-Identifier: GPL-2.0

//! Where a VMA maps a page that failed.

use kernel::{
    bindings,
    dax::LockedEntry,
    fs::address_space::FileVma,
    prelude::*, //
};

/// What C passes for the address of a page that has none in a VMA.
// CAST: C passes the error in an `unsigned long`.
pub(crate) const NO_ADDRESS: usize = bindings::DAX_KILL_NO_ADDRESS as usize;

/// Where a VMA maps a page.
pub(crate) struct VmaAddress {
    /// The virtual address, or `None` if the page has none in the VMA.
    pub(crate) address: Option<usize>,
    /// log2 of the bytes that are mapped together with the page, 0 if it is not mapped at present.
    pub(crate) shift: u32,
}

impl VmaAddress {
    /// Returns where `vma` maps the page of `entry`. `vma` covers that page.
    ///
    /// Returns `None` if `vma` is private and does not map the page, because it has a copy of it or
    /// was not accessed there.
    pub(crate) fn of(vma: &FileVma<'_>, entry: &LockedEntry<'_>) -> Option<Self> {
        let mut address: c_ulong = 0;
        // SAFETY: By its type invariant, `vma` and the upper levels of its page tables stay. A page
        // table that is empty may be freed meanwhile, but under RCU, and `page_vma_mapped_walk()`
        // locks it by `pte_offset_map_lock()`, which checks for that. `__vma_address()` checks that
        // the page is in the VMA. `address` is valid for writes.
        let shift = unsafe {
            bindings::mf_dax_mapping_shift(
                vma.as_raw(),
                entry.index().as_raw(),
                entry.pfn().as_raw(),
                &mut address,
            )
        };

        Some(Self {
            address: (address != NO_ADDRESS).then_some(address),
            // Negative if the page is not mapped in a private VMA.
            shift: u32::try_from(shift).ok()?,
        })
    }
}
