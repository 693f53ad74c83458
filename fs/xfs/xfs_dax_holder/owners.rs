// SPDX-License-Identifier: GPL-2.0

//! Act: take what failed away from the processes that map a file, and note whom to signal.
//!
//! Runs without any lock of XFS.

use super::{
    door::{
        ActiveMount,
        DaxTarget,
        Inode,
        MappedInodes, //
    },
    query::Act,
    report::{
        Lost,
        Tally, //
    },
    rmap::{
        Content,
        Record, //
    },
    units::{
        DeviceBytes,
        FileBytes,
        GroupBlocks,
        Sectors,
        SECTOR_SHIFT, //
    },
    worker::Worker, //
};
use kernel::{
    dax,
    dax_owners::Notice,
    page::PAGE_SHIFT,
    prelude::*,
    sync::Arc, //
};

/// What all owners of a failure have in common.
pub(crate) struct Cause<'a> {
    pub(crate) worker: &'a Arc<Worker>,
    /// Where it is.
    pub(crate) target: &'a DaxTarget<'a>,
    /// What failed: sectors that a scrub has found, or else pages.
    pub(crate) bytes: DeviceBytes,
    pub(crate) flags: dax::MfFlags,
}

/// Pages of a file.
struct FilePages {
    index: usize,
    count: usize,
}

impl FileBytes {
    /// The pages that hold the bytes. A file's last page can be told in a [`usize`] on all machines
    /// that have DAX, which are 64-bit ones.
    fn pages(&self) -> Result<FilePages> {
        let first = self.pos >> PAGE_SHIFT;
        // A record that is not what it should be must not overflow here.
        let last = self.pos.checked_add(self.len - 1).ok_or(EINVAL)? >> PAGE_SHIFT;

        Ok(FilePages {
            index: usize::try_from(first)?,
            count: usize::try_from(last - first + 1)?,
        })
    }
}

/// Shows `visit` the page frames of the pages of a device that hold `bytes`: the page on the
/// device, its frame, and how many follow.
fn for_each_frame(
    dev: &dax::Device,
    bytes: DeviceBytes,
    mut visit: impl FnMut(usize, usize, usize) -> Result,
) -> Result {
    let mut pgoff = usize::try_from(bytes.start >> PAGE_SHIFT)?;
    let end = usize::try_from((bytes.end - 1) >> PAGE_SHIFT)? + 1;

    while pgoff < end {
        let (pfn, count) = dev.pfn(&dax::read_lock(), pgoff, end - pgoff)?;
        let count = count.clamp(1, end - pgoff);

        visit(pgoff, pfn, count)?;
        pgoff += count;
    }
    Ok(())
}

impl<'a> Cause<'a> {
    pub(crate) fn mount(&self) -> &'a ActiveMount<'a> {
        &self.target.mount
    }

    pub(crate) fn is_removal(&self) -> bool {
        self.flags.contains(dax::MfFlag::MemPreRemove)
    }

    /// Whether nothing has consumed it: then it costs nothing but what it hit.
    pub(crate) fn is_found(&self) -> bool {
        self.flags.contains(dax::MfFlag::Found)
    }

    /// What of `blocks` failed.
    pub(crate) fn failed(&self, group: u32, blocks: GroupBlocks) -> Option<DeviceBytes> {
        self.target.bytes_of(group, blocks)?.intersect(self.bytes)
    }

    /// Has `blocks` repaired, which hold no data.
    fn repair(&self, group: u32, blocks: GroupBlocks) {
        if let Some(bytes) = self.failed(group, blocks).filter(|_| !self.is_removal()) {
            self.worker.repair(self.mount(), self.target.kind, bytes);
        }
    }

    /// What failed of the file that `blocks` of a group belong to, where `rec` covers them.
    fn file_bytes(
        &self,
        ino: u64,
        rec: &Record,
        group: u32,
        blocks: GroupBlocks,
    ) -> Option<FileBytes> {
        let at = self.target.bytes_of(group, blocks)?;
        let pos = rec.file_block(blocks.start) << self.target.block_shift();

        FileBytes::within(ino, pos, at, self.bytes)
    }

    /// Takes `bytes`, which are part of `blocks` of `group`, away from all processes, which
    /// `notice` will tell.
    fn revoke(
        &self,
        notice: &mut Notice,
        bytes: &FileBytes,
        group: u32,
        blocks: GroupBlocks,
    ) -> Result {
        let Some(inode) = self.mount().inode_in_memory(bytes.ino)? else {
            return Ok(());
        };
        let pages = bytes.pages()?;

        if self.is_removal() {
            // This is about the device: whatever the file has there now has to go.
            return inode.revoke(notice, pages.index, pages.count, None);
        }
        match self.failed(group, blocks) {
            Some(failed) => self.revoke_failed(notice, &inode, &pages, failed),
            None => Ok(()),
        }
    }

    /// Takes away the memory itself: since the query, the file may have been truncated or remapped,
    /// and something else be at these pages.
    fn revoke_failed(
        &self,
        notice: &mut Notice,
        inode: &Inode<'_>,
        pages: &FilePages,
        failed: DeviceBytes,
    ) -> Result {
        let first = usize::try_from(failed.start >> PAGE_SHIFT)?;

        for_each_frame(&self.target.dev, failed, |pgoff, pfn, count| {
            inode.revoke(notice, pages.index + (pgoff - first), count, Some(pfn))
        })
    }

    /// Takes the page frames of `bytes` away from all files that have them, without the btrees:
    /// what the files have in memory is looked through. Shows `visit` which bytes of which file
    /// that were, and where on the device they begin.
    ///
    /// It takes as long as the mapped files have pages in memory, and is for when the btrees can't
    /// be read. Files that are not mapped are not seen.
    pub(crate) fn revoke_from_all(
        &self,
        notice: &mut Notice,
        bytes: DeviceBytes,
        mut visit: impl FnMut(FileBytes, u64),
    ) -> Result {
        for_each_frame(&self.target.dev, bytes, |pgoff, pfn, count| {
            let mut files = self.mount().mapped_files();

            while let Some(inode) = files.next() {
                let mut index = 0;

                while let Some(found) = inode.find(index, pfn, count) {
                    inode.revoke(notice, found.index, found.count, Some(found.pfn))?;
                    let at = pgoff + (found.pfn - pfn);
                    let at = DeviceBytes {
                        start: (at as u64) << PAGE_SHIFT,
                        end: ((at + found.count) as u64) << PAGE_SHIFT,
                    };
                    let pos = (found.index as u64) << PAGE_SHIFT;

                    if let Some(lost) = FileBytes::within(inode.ino(), pos, at, bytes) {
                        visit(lost, at.start.max(bytes.start));
                    }
                    index = found.index + found.count;
                }
            }
            Ok(())
        })
    }
}

/// Acts upon the owners of blocks of one group.
pub(crate) struct Owners<'a> {
    pub(crate) cause: &'a Cause<'a>,
    pub(crate) group: u32,
    /// Tells the processes when all owners are known: each once.
    pub(crate) notice: &'a mut Notice,
    pub(crate) tally: &'a mut Tally,
}

impl Act for Owners<'_> {
    fn owned<'a, I>(&mut self, records: I)
    where
        I: Iterator<Item = (&'a Record, GroupBlocks)> + Clone,
    {
        let cause = self.cause;
        let mut inodes = cause.mount().mapped_inodes();

        for (rec, blocks) in records.clone() {
            let Content::Data { ino } = rec.content() else {
                continue;
            };
            if !inodes.has(ino) {
                continue;
            }
            if let Some(bytes) = cause.file_bytes(ino, rec, self.group, blocks) {
                let res = cause.revoke(self.notice, &bytes, self.group, blocks);

                self.tally.revoked(&bytes, res);
            }
        }

        let mut batch = Batch::new(cause);
        for (rec, blocks) in records {
            match rec.content() {
                Content::Metadata => self.metadata(rec, blocks),
                Content::Unwritten { .. } | Content::Staging => self.empty(blocks),
                Content::Data { ino } => {
                    if let Some(bytes) = cause.file_bytes(ino, rec, self.group, blocks) {
                        let at = cause.failed(self.group, blocks).map_or(0, |at| at.start);

                        batch.add(self.tally, &mut inodes, bytes, at);
                    }
                }
            }
        }
        batch.send();
    }

    fn gap(&mut self, blocks: GroupBlocks) {
        self.empty(blocks);
    }
}

impl Owners<'_> {
    /// Blocks that hold no data.
    fn empty(&mut self, blocks: GroupBlocks) {
        self.tally.empty += blocks.count();
        self.cause.repair(self.group, blocks);
    }

    /// Blocks that hold metadata.
    fn metadata(&mut self, rec: &Record, blocks: GroupBlocks) {
        let cause = self.cause;

        self.tally.metadata += blocks.count();
        // For what a machine check has met the filesystem is shut down.
        if !cause.is_found() {
            return;
        }
        let start = GroupBlocks { start: 0, end: 1 };
        let Some((failed, start)) = cause
            .failed(self.group, blocks)
            .zip(cause.target.bytes_of(self.group, start))
        else {
            return;
        };
        let sectors = Sectors {
            start: (failed.start - start.start) >> SECTOR_SHIFT,
            end: (failed.end - start.start).div_ceil(1 << SECTOR_SHIFT),
        };

        cause
            .mount()
            .mark_sick(cause.target.kind, self.group, rec, sectors);
    }
}

/// Losses of data that are reported together, by the worker.
pub(crate) struct Batch<'a> {
    cause: &'a Cause<'a>,
    lost: KVVec<Lost>,
    /// Those for which there was no memory.
    more: u64,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(cause: &'a Cause<'a>) -> Self {
        Self {
            cause,
            lost: KVVec::new(),
            more: 0,
        }
    }

    /// Adds what of `bytes`, which begin at byte `at` of the device, is lost: not what the page
    /// cache has.
    fn add(&mut self, tally: &mut Tally, inodes: &mut MappedInodes<'_>, bytes: FileBytes, at: u64) {
        let (mut rest, mut at) = (bytes, at);

        while rest.len > 0 {
            let (cached, len) = match self.cause.is_removal() {
                true => (false, rest.len),
                false => inodes.is_cached(rest.ino, rest.pos, rest.len),
            };
            let len = len.clamp(1, rest.len);

            if !cached {
                self.push(tally, FileBytes { len, ..rest }, at);
            }
            at += len;
            rest.pos += len;
            rest.len -= len;
        }
    }

    /// Adds a loss of `bytes`, which begin at byte `at` of the device.
    pub(crate) fn push(&mut self, tally: &mut Tally, bytes: FileBytes, at: u64) {
        let lost = tally.lost(self.cause, bytes, at);

        // The files are still there when the device is back.
        if self.cause.is_removal() {
            lost.report_in_memory(self.cause.mount());
        } else if self.lost.push(lost, GFP_KERNEL | __GFP_NOWARN).is_err() {
            self.more += 1;
        }
    }

    /// Has the worker report.
    pub(crate) fn send(self) {
        self.cause.worker.report(self.lost, self.more);
    }
}
