// SPDX-License-Identifier: GPL-2.0

//! The holder of a DAX device for filesystems that can't tell which file owns a block.
//!
//! When memory fails, the files of the superblock that are mapped are searched for its page frames.
//! A page can be in several files, which is why its `folio` does not tell. This takes as long as
//! there are mapped files and DAX entries in them, and nothing is done before memory fails.
//!
//! # Lock order
//!
//! `memory_failure()` calls with `mf_mutex` held. An active reference keeps an unmount from
//! starting, which would wait for this notification in `fs_put_dax()`. `s_inode_list_lock` and the
//! locks that [`KillList`] takes are not nested.

use kernel::{
    bindings,
    dax::{
        self,
        ByteRange,
        DaxPgoff,
        Device,
        FoundPages,
        MfFlag,
        MfFlags, //
    },
    dax_kill::KillList,
    error::from_result,
    fs::{
        address_space::AddressSpace,
        super_block::{
            ActiveSuperBlock,
            SuperBlock, //
        }, //
    },
    page::{
        Pfn,
        PAGE_SIZE, //
    },
    prelude::*, //
};

const __LOG_PREFIX: &[u8] = b"dax_fs_holder\0";

/// Consecutive page frames of the device, and the bytes of the device that failed.
struct Run {
    pgoff: DaxPgoff,
    pfn: Pfn,
    failed: ByteRange,
}

impl Run {
    /// Reports the bytes of `found` that are lost, and no others of its pages.
    fn report_lost(&self, mapping: &AddressSpace, found: FoundPages) {
        let first = self.pgoff + (found.pfn - self.pfn);
        let start = first.first_byte().max(self.failed.offset());
        let end = (first + found.count).first_byte().min(self.failed.end());
        let pos = found.index.first_byte() + (start - first.first_byte());

        mapping.report_data_lost(pos, end - start);
    }
}

/// Revokes memory of `dev` from all processes that map it, and signals them.
fn memory_failed(sb: &ActiveSuperBlock, dev: &Device, failed: ByteRange, flags: MfFlags) -> Result {
    let mut kill_list = KillList::new(flags);

    // No file may map anything of the device.
    if flags.contains(MfFlag::MemPreRemove) {
        // SAFETY: The superblock is active until `memory_failed()` returns.
        let files = unsafe { sb.mapped_dax_files() };

        return kill_list.collect_mapped(files, Pfn::from_raw(0), usize::MAX, |_, _| ());
    }
    let mut pgoff = DaxPgoff::of_byte(failed.offset())?;
    let end = DaxPgoff::of_byte(failed.end() - 1)? + 1;
    let mut res = Ok(());

    while pgoff < end {
        let (pfn, count) = dev.pfn(&dax::read_lock(), pgoff, end - pgoff)?;
        // A driver may count no page if the first one has an error.
        let count = count.clamp(1, end - pgoff);
        let run = Run { pgoff, pfn, failed };
        // SAFETY: The superblock is active until `memory_failed()` returns.
        let files = unsafe { sb.mapped_dax_files() };

        res = res.and(
            kill_list.collect_mapped(files, pfn, count, |mapping, found| {
                run.report_lost(mapping, found);
            }),
        );
        pgoff = pgoff + count;
    }
    kill_list.kill_procs();
    res
}

/// Notifies a filesystem that memory of its device failed or is about to be removed.
///
/// Returns `-EOPNOTSUPP` if it is not mounted completely, or not any more, or if its blocks are not
/// as large as a page: no process maps its memory.
///
/// # Safety
///
/// `dax_dev` must be valid until this returns, and `holder` be a `super_block` whose memory is not
/// freed meanwhile.
#[export]
unsafe extern "C" fn dax_fs_notify_failure(
    dax_dev: *mut bindings::dax_device,
    holder: *mut c_void,
    offset: u64,
    len: u64,
    mf_flags: c_int,
) -> c_int {
    from_result(|| {
        // SAFETY: The caller guarantees that the device is valid.
        let dev = unsafe { Device::from_raw(dax_dev) };
        // SAFETY: The caller guarantees that the memory of the superblock is not freed.
        let sb = unsafe { SuperBlock::from_raw(holder.cast()) };
        let sb = sb.activate().ok_or(EOPNOTSUPP)?;
        let failed = ByteRange::new(offset, len)?;

        // Its files do not use DAX, and a page holds several blocks: only what hardware reports as
        // bad may be refused.
        if sb.block_size() != PAGE_SIZE {
            return Err(EOPNOTSUPP);
        }
        memory_failed(&sb, dev, failed, MfFlags::from_raw(mf_flags))?;
        Ok(0)
    })
}
