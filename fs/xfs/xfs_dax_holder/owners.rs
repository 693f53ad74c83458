// SPDX-License-Identifier: GPL-2.0

//! Act: take what failed away from the processes that map a file, and note whom to signal.
//!
//! Runs without any lock of XFS.

use super::{
    door::{
        ActiveMount,
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
    units::GroupBlocks, //
};
use kernel::{
    dax,
    dax_owners::Notice,
    page::PAGE_SHIFT,
    prelude::*, //
};

/// What all owners of a failure have in common.
pub(crate) struct Cause<'a> {
    pub(crate) mount: &'a ActiveMount<'a>,
    pub(crate) dev: &'a dax::Device,
    pub(crate) target: Target,
    pub(crate) geometry: Geometry,
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
        let Some(inode) = self.mount.inode(bytes.ino)? else {
            return Ok(());
        };
        let pages = bytes.pages()?;

        if self.flags.contains(dax::MfFlag::MemPreRemove) {
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
        let byte = self.target.offset + self.geometry.byte_of(group, blocks.start);
        let mut pgoff = usize::try_from(byte >> PAGE_SHIFT)?;
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
    pub(crate) tally: &'a mut Tally,
}

impl Act for Owners<'_> {
    /// Processes come first, the report is not as urgent.
    fn owned<'a, I>(&mut self, records: I)
    where
        I: Iterator<Item = (&'a Record, GroupBlocks)> + Clone,
    {
        let cause = self.cause;
        let mut notice = Notice::new(cause.flags);
        let mut mapped = cause.mount.mapped_inodes();

        for (rec, blocks) in records.clone() {
            let Content::Data { ino } = rec.content() else {
                continue;
            };
            if mapped.has(ino) {
                let bytes = cause.file_bytes(ino, rec, blocks);
                let res = cause.revoke(&mut notice, &bytes, self.group, blocks);

                self.tally.revoked(cause.mount, &bytes, res);
            }
        }
        // This sends the signals.
        drop(notice);

        for (rec, blocks) in records {
            match rec.content() {
                Content::Metadata => self.tally.metadata += blocks.count(),
                Content::Data { ino } => {
                    let bytes = cause.file_bytes(ino, rec, blocks);
                    let inode = cause.mount.inode(ino);

                    if let Ok(Some(inode)) = &inode {
                        inode.report_lost(bytes.pos, bytes.len);
                    }
                    self.tally
                        .owner(cause.mount, &bytes, inode.map(|i| i.is_some()));
                }
            }
        }
    }

    fn gap(&mut self, blocks: GroupBlocks) {
        self.tally.unowned += blocks.count();
    }
}
