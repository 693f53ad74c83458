// SPDX-License-Identifier: GPL-2.0

//! Act: take what failed away from the processes that map a file, and note whom to signal.
//!
//! Runs without any lock of XFS.

use super::{
    door::{
        ActiveMount,
        DeviceKind,
        Inode, //
    },
    query::Act,
    report::Tally,
    rmap::{
        Content,
        Record, //
    },
    translate::{
        Geometry,
        Target, //
    },
    units::{
        DeviceBytes,
        GroupBlocks, //
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
    pub(crate) mount: &'a ActiveMount<'a>,
    pub(crate) dev: &'a dax::Device,
    pub(crate) kind: DeviceKind,
    pub(crate) target: Target,
    pub(crate) geometry: Geometry,
    /// What failed.
    pub(crate) bytes: DeviceBytes,
    pub(crate) flags: dax::MfFlags,
}

/// Part of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileBytes {
    pub(crate) ino: u64,
    /// Byte at which it begins.
    pub(crate) pos: u64,
    /// Bytes, not zero.
    pub(crate) len: u64,
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

impl Cause<'_> {
    pub(crate) fn is_removal(&self) -> bool {
        self.flags.contains(dax::MfFlag::MemPreRemove)
    }

    /// Has `blocks` repaired, which hold no data.
    fn repair(&self, group: u32, blocks: GroupBlocks) {
        let bytes = self.geometry.bytes_of(&self.target, group, blocks);

        if let Some(bytes) = bytes.intersect(self.bytes).filter(|_| !self.is_removal()) {
            self.worker.repair(self.mount, self.kind, bytes);
        }
    }

    /// The part of the file that `blocks` of a group are, where `rec` covers them.
    fn file_bytes(&self, ino: u64, rec: &Record, blocks: GroupBlocks) -> FileBytes {
        let shift = self.geometry.block_shift;

        FileBytes {
            ino,
            pos: rec.file_block(blocks.start) << shift,
            len: blocks.count() << shift,
        }
    }

    /// Takes `bytes`, which are `blocks` of `group`, away from all processes, which `notice` will
    /// tell.
    fn revoke(
        &self,
        notice: &mut Notice,
        bytes: &FileBytes,
        group: u32,
        blocks: GroupBlocks,
    ) -> Result {
        let Some(inode) = self.mount.inode_in_memory(bytes.ino)? else {
            return Ok(());
        };
        let pages = bytes.pages()?;

        if self.is_removal() {
            // This is about the device: whatever the file has there now has to go.
            inode.revoke(notice, pages.index, pages.count, None)
        } else {
            self.revoke_failed(notice, &inode, &pages, group, blocks)
        }
    }

    /// Takes away the memory itself: since the query, the file may have been truncated or remapped,
    /// and something else be at these pages.
    fn revoke_failed(
        &self,
        notice: &mut Notice,
        inode: &Inode<'_>,
        pages: &FilePages,
        group: u32,
        blocks: GroupBlocks,
    ) -> Result {
        let bytes = self.geometry.bytes_of(&self.target, group, blocks);
        let mut pgoff = usize::try_from(bytes.start >> PAGE_SHIFT)?;
        let mut index = pages.index;
        let mut rest = pages.count;

        while rest > 0 {
            let (pfn, count) = self.dev.pfn(&dax::read_lock(), pgoff, rest)?;
            let count = count.clamp(1, rest);

            inode.revoke(notice, index, count, Some(pfn))?;
            pgoff += count;
            index += count;
            rest -= count;
        }
        Ok(())
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
        let mut mapped = cause.mount.mapped_inodes();

        for (rec, blocks) in records.clone() {
            let Content::Data { ino } = rec.content() else {
                continue;
            };
            if mapped.has(ino) {
                let bytes = cause.file_bytes(ino, rec, blocks);
                let res = cause.revoke(self.notice, &bytes, self.group, blocks);

                self.tally.revoked(cause.mount, &bytes, res);
            }
        }

        let mut batch = KVVec::new();
        for (rec, blocks) in records {
            match rec.content() {
                Content::Metadata => self.tally.metadata += blocks.count(),
                Content::Unwritten { .. } | Content::Staging => self.empty(blocks),
                Content::Data { ino } => {
                    let lost = self.tally.lost(cause.file_bytes(ino, rec, blocks));

                    // The files are still there when the device is back.
                    if cause.is_removal() {
                        lost.report_in_memory(cause.mount);
                    } else if batch.push(lost, GFP_KERNEL | __GFP_NOWARN).is_err() {
                        lost.report(cause.mount);
                    }
                }
            }
        }
        if let Err(batch) = cause.worker.report(batch) {
            batch.iter().for_each(|lost| lost.report(cause.mount));
        }
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
}
