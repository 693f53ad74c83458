// SPDX-License-Identifier: GPL-2.0

//! Acts upon the owners of memory that failed: unmaps it from the files, collects the processes
//! that mapped it, and queues reports and repairs for the worker.
//!
//! No lock of XFS is held here.

use super::{
    query::Visitor,
    report::{
        LossBatch,
        Summary, //
    },
    rmap::{
        Content,
        Record, //
    },
    target::{
        DaxTarget,
        Frames, //
    },
    translate::Span,
    units::{
        DeviceBytes,
        FileBytes,
        GroupBlocks, //
    },
    worker::Worker,
    xfs::{
        ActiveMount,
        Inode,
        MappedInodes, //
    }, //
};
use kernel::{
    dax::{
        MfFlag,
        MfFlags, //
    },
    dax_kill::KillList,
    page::{
        PageIndex,
        Pfn, //
    },
    prelude::*,
    sync::Arc, //
};

/// A failure of one target.
pub(crate) struct Event<'a> {
    pub(crate) worker: &'a Arc<Worker>,
    pub(crate) target: &'a DaxTarget<'a>,
    /// The bytes that failed: sectors if a scrub found them, else pages.
    pub(crate) bytes: DeviceBytes,
    pub(crate) flags: MfFlags,
}

impl<'a> Event<'a> {
    /// Returns the mount.
    pub(crate) fn mount(&self) -> ActiveMount<'a> {
        self.target.mount()
    }

    /// Returns whether the device is about to be removed. Its memory is still good.
    pub(crate) fn is_removal(&self) -> bool {
        self.flags.contains(MfFlag::MemPreRemove)
    }

    /// Returns whether there are reverse mapping btrees, and a read of them does not wait for user
    /// space to resume the device.
    pub(crate) fn can_read_rmap(&self) -> bool {
        self.target.has_rmap() && !self.flags.contains(MfFlag::NoIo)
    }

    /// Returns whether the worker has to find out what the memory contained, as the btrees can't be
    /// read now. It goes by the marks of the pages.
    pub(crate) fn is_postponed(&self) -> bool {
        self.target.has_rmap()
            && !self.can_read_rmap()
            && !self.is_removal()
            && !self.is_simulated()
    }

    /// Returns whether the error is simulated. The memory is good, and not marked.
    pub(crate) fn is_simulated(&self) -> bool {
        self.flags.contains(MfFlag::SwSimulated)
    }

    /// Returns the bytes of a file that failed, if `rec` maps `blocks` of `span` to the file.
    fn file_bytes(
        &self,
        ino: u64,
        rec: &Record,
        span: &Span,
        blocks: GroupBlocks,
    ) -> Option<FileBytes> {
        let pos = rec.file_block(blocks.start) << span.block_shift;

        FileBytes::within(ino, pos, span.bytes_of(blocks), self.bytes)
    }

    /// Unmaps the page frames of `bytes` from all files that have them, and collects the processes.
    /// Calls `visit` with the bytes of each file, and where they begin on the device.
    ///
    /// For when there are no btrees, or they can't be read: the DAX entries of all mapped files are
    /// looked through, which takes as long as they are many. Files that no process maps are not
    /// found.
    pub(crate) fn collect_mapped(
        &self,
        kill_list: &mut KillList,
        bytes: DeviceBytes,
        mut visit: impl FnMut(FileBytes, u64),
    ) -> Result {
        if self.is_removal() {
            // The filesystem shuts down: no file may map anything, whichever device it is on.
            let files = self.mount().mapped_files();

            return kill_list.collect_mapped(files, Pfn::from_raw(0), usize::MAX, |_, _| ());
        }
        self.target.frames().for_each(bytes, |pgoff, pfn, count| {
            let files = self.mount().mapped_files();

            kill_list.collect_mapped(files, pfn, count, |mapping, found| {
                let first = pgoff + (found.pfn - pfn);
                let at = DeviceBytes {
                    start: first.first_byte(),
                    end: (first + found.count).first_byte(),
                };
                let pos = found.index.first_byte();

                if let Some(lost) = FileBytes::within(mapping.ino(), pos, at, bytes) {
                    visit(lost, at.start.max(bytes.start));
                }
            })
        })
    }
}

/// Acts upon the owners of blocks of one span.
pub(crate) struct OwnerVisitor<'a> {
    event: &'a Event<'a>,
    span: &'a Span,
    kill_list: &'a mut KillList,
    summary: &'a mut Summary,
    frames: Frames<'a>,
}

impl<'a> OwnerVisitor<'a> {
    /// Prepares to visit the owners of `span`.
    pub(crate) fn new(
        event: &'a Event<'a>,
        span: &'a Span,
        kill_list: &'a mut KillList,
        summary: &'a mut Summary,
    ) -> Self {
        Self {
            event,
            span,
            kill_list,
            summary,
            frames: event.target.frames(),
        }
    }

    /// Returns the bytes of `blocks` that failed.
    fn failed(&self, blocks: GroupBlocks) -> Option<DeviceBytes> {
        self.span.bytes_of(blocks).intersect(self.event.bytes)
    }

    /// Unmaps `bytes` of a file, which are in `blocks`, and collects the processes.
    fn collect(&mut self, bytes: &FileBytes, blocks: GroupBlocks) -> Result {
        let Some(inode) = self.event.mount().inode_in_memory(bytes.ino)? else {
            return Ok(());
        };
        let first = PageIndex::of_byte(bytes.pos)?;
        // The offset comes from a record on disk, which may be corrupt: it must not overflow.
        let last = bytes.pos.checked_add(bytes.len - 1).ok_or(EINVAL)?;
        let count = PageIndex::of_byte(last)? - first + 1;

        if self.event.is_removal() {
            // The device goes away, so the file must not map anything of it, bad or good.
            return match inode.dax_mapping() {
                Some(mapping) => self.kill_list.collect(mapping, first, count, None),
                None => Ok(()),
            };
        }
        match self.failed(blocks) {
            Some(failed) => self.collect_failed(&inode, first, failed),
            None => Ok(()),
        }
    }

    /// Unmaps the page frames of `failed` from a file, from page `first` on. The file may have been
    /// truncated or remapped since the query, and have other memory at these pages.
    fn collect_failed(
        &mut self,
        inode: &Inode<'_>,
        first: PageIndex,
        failed: DeviceBytes,
    ) -> Result {
        let mut index = first;
        let (frames, kill_list) = (&mut self.frames, &mut self.kill_list);
        let Some(mapping) = inode.dax_mapping() else {
            return Ok(());
        };

        frames.for_each(failed, |_, pfn, count| {
            kill_list.collect(mapping, index, count, Some(pfn))?;
            index = index + count;
            Ok(())
        })
    }

    /// Queues blocks that hold no data of a file for repair.
    fn queue_repair(&self, blocks: GroupBlocks) {
        // What is about to be removed is not bad.
        if self.event.is_removal() {
            return;
        }
        if let Some(bytes) = self.failed(blocks) {
            self.event.worker.queue_repair(self.event.target, bytes);
        }
    }

    /// Visits blocks that hold no data.
    fn visit_empty(&mut self, blocks: GroupBlocks) {
        self.summary.empty += blocks.count();
        self.queue_repair(blocks);
    }

    /// Visits blocks that hold metadata. A copy is in memory, or online repair can rebuild them.
    fn visit_metadata(&mut self, blocks: GroupBlocks) {
        self.summary.metadata += blocks.count();
        self.queue_repair(blocks);
    }
}

impl Visitor for OwnerVisitor<'_> {
    fn visit_owned<'a, I>(&mut self, records: I)
    where
        I: Iterator<Item = (&'a Record, GroupBlocks)> + Clone,
    {
        let event = self.event;
        let mut inodes = event.mount().mapped_inodes();

        // Processes come first: reports can wait.
        for (rec, blocks) in records.clone() {
            let Content::Data { ino } = rec.content() else {
                continue;
            };
            if !inodes.has(ino) {
                continue;
            }
            if let Some(bytes) = event.file_bytes(ino, rec, self.span, blocks) {
                let res = self.collect(&bytes, blocks);

                self.summary.add_collected(&bytes, res);
            }
        }

        let mut batch = LossBatch::new(event);
        for (rec, blocks) in records {
            match rec.content() {
                Content::Metadata => self.visit_metadata(blocks),
                Content::Unwritten { .. } | Content::Staging => self.visit_empty(blocks),
                Content::Data { ino } => {
                    if let Some(bytes) = event.file_bytes(ino, rec, self.span, blocks) {
                        let at = self.failed(blocks).map_or(0, |at| at.start);

                        add_loss(&mut batch, self.summary, &mut inodes, bytes, at);
                    }
                }
            }
        }
        batch.queue();
    }

    fn visit_gap(&mut self, blocks: GroupBlocks) {
        self.visit_empty(blocks);
    }
}

/// Adds the loss of `bytes`, which begin at byte `at` of the device, except for those that the page
/// cache has.
fn add_loss(
    batch: &mut LossBatch<'_>,
    summary: &mut Summary,
    inodes: &mut MappedInodes<'_>,
    bytes: FileBytes,
    at: u64,
) {
    let (mut rest, mut at) = (bytes, at);

    while rest.len > 0 {
        let (cached, len) = if batch.event().is_removal() {
            (false, rest.len)
        } else {
            inodes.is_cached(rest)
        };
        let len = len.clamp(1, rest.len);

        if !cached {
            batch.add(summary, FileBytes { len, ..rest }, at);
        }
        at += len;
        rest.pos += len;
        rest.len -= len;
    }
}
