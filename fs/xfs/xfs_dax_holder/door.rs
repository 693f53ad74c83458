// SPDX-License-Identifier: GPL-2.0

//! The part of XFS's C that the holder uses. Nothing else in this folder calls C.
//!
//! C header: `fs/xfs/xfs_rust.h`

use super::{
    chunk::Next,
    rmap::Record,
    translate::{
        Geometry,
        Target, //
    },
    units::{
        DeviceBytes,
        GroupBlocks,
        Sectors, //
    }, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    container_of,
    dax,
    dax_owners::Notice,
    error::{
        code::*,
        to_result, //
    },
    fs::super_block::{
        ActiveSuperBlock,
        SuperBlock, //
    },
    page::PAGE_SHIFT,
    prelude::*,
    sync::aref::ARef,
    types::{
        NotThreadSafe,
        Opaque, //
    },
    workqueue::{
        DelayedWork,
        Work, //
    }, //
};

/// Structure or data of the filesystem is damaged on disk (`EFSCORRUPTED`).
pub(crate) fn efscorrupted() -> Error {
    // CAST: Error numbers are small.
    Error::from_errno(-(bindings::EUCLEAN as i32))
}

/// One of a mount's devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub(crate) enum DeviceKind {
    /// The data device, with an internal log if there is no other.
    Data = bindings::xfs_rust_device_XFS_RUST_DATA,
    /// An external log.
    Log = bindings::xfs_rust_device_XFS_RUST_LOG,
    /// A realtime device.
    Rt = bindings::xfs_rust_device_XFS_RUST_RT,
}

/// A step of a repair, for the trace (`trace_xfs_dax_repair()`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Step {
    /// Will be worked on.
    Queued = 0,
    /// Is proven to hold nothing, and about to be cleared.
    Proven = 1,
    /// Holds zeroes, and no error.
    Cleared = 2,
    /// Not proven to hold nothing, so far.
    Retry = 3,
    /// Has an owner by now.
    Owned = 4,
    /// Could not be cleared.
    Stuck = 5,
}

/// A mount (`struct xfs_mount`) in any state.
#[repr(transparent)]
pub(crate) struct Mount(Opaque<bindings::xfs_mount>);

// SAFETY: A mount may be used from any thread.
unsafe impl Sync for Mount {}

impl Mount {
    /// Borrows a mount from its C pointer.
    ///
    /// # Safety
    ///
    /// `mp` must point to an `xfs_mount` that has a superblock and open devices for `'a`.
    pub(crate) unsafe fn from_raw<'a>(mp: *mut bindings::xfs_mount) -> &'a Self {
        // CAST: `Self` is transparent.
        // SAFETY: As the caller guarantees.
        unsafe { &*mp.cast() }
    }

    fn as_raw(&self) -> *mut bindings::xfs_mount {
        self.0.get()
    }

    /// The holder that `xfs_alloc_buftarg()` named when it claimed the devices.
    pub(crate) fn claim(&self) -> dax::Claim {
        dax::Claim::new(self.as_raw().cast())
    }

    fn super_block(&self) -> &SuperBlock {
        // SAFETY: The mount has a superblock for as long as it is borrowed.
        unsafe { SuperBlock::from_raw(bindings::xfs_rust_super(self.as_raw())) }
    }

    /// Name for messages, that of the data device.
    pub(crate) fn name(&self) -> &CStr {
        self.super_block().id()
    }

    /// One of the devices, or `None` if there is none that does DAX.
    pub(crate) fn device(&self, kind: DeviceKind) -> Option<(ARef<dax::Device>, Target)> {
        let mut raw = bindings::xfs_rust_target::default();

        // SAFETY: The mount's devices are open, and `raw` may be written.
        if !unsafe { bindings::xfs_rust_get_target(self.as_raw(), kind as u32, &mut raw) } {
            return None;
        }
        // SAFETY: `xfs_buftarg` has a reference until the mount is freed.
        let dev = unsafe { dax::Device::from_raw(raw.dax_dev) };
        let target = Target {
            offset: raw.offset,
            sectors: raw.sectors,
        };
        Some((dev.into(), target))
    }

    /// Keeps the mount from being shut down, or returns `None` if it is not complete yet, or not
    /// any more.
    pub(crate) fn activate(&self) -> Option<ActiveSuperBlock> {
        self.super_block().activate()
    }
}

/// A mount that is complete, and no part of whose shutdown runs while this lives.
pub(crate) struct ActiveMount<'a>(&'a Mount);

impl<'a> ActiveMount<'a> {
    /// # Safety
    ///
    /// The mount must be complete, and not begin to be shut down for `'a`.
    pub(crate) unsafe fn new(mount: &'a Mount) -> Self {
        Self(mount)
    }

    fn as_raw(&self) -> *mut bindings::xfs_mount {
        self.0.as_raw()
    }

    pub(crate) fn name(&self) -> &'a CStr {
        self.0.name()
    }

    /// One of the devices, or `None` if there is none that does DAX.
    pub(crate) fn device(&self, kind: DeviceKind) -> Option<(ARef<dax::Device>, Target)> {
        self.0.device(kind)
    }

    /// Whether it is mounted to be written to, and was not shut down because of an error.
    pub(crate) fn is_writable(&self) -> bool {
        // SAFETY: The mount is complete.
        unsafe { bindings::xfs_rust_is_writable(self.as_raw()) }
    }

    /// How the blocks of a device are dealt out, or [`EOPNOTSUPP`] if they have no reverse mapping.
    pub(crate) fn geometry(&self, kind: DeviceKind) -> Result<Geometry> {
        let mut raw = bindings::xfs_rust_geometry::default();

        // SAFETY: The mount is complete, and `raw` may be written.
        to_result(unsafe {
            bindings::xfs_rust_get_geometry(self.as_raw(), kind as u32, &mut raw)
        })?;
        Ok(Geometry {
            first: raw.first,
            blocks: raw.blocks,
            stride: raw.stride,
            block_shift: raw.block_shift,
        })
    }

    /// Locks a group, or returns `None` if there is none of that number: nobody changes who owns
    /// its blocks.
    ///
    /// While this lives nothing may be locked or allocated: a page fault holds the lock of a DAX
    /// entry while it waits for the group. Nothing of XFS may be locked before.
    pub(crate) fn lock_group(&self, kind: DeviceKind, group: u32) -> Result<Option<Group<'_>>> {
        self.lock(kind, group, false)
    }

    /// Locks a group, and nobody allocates or frees its blocks either. Waits while the filesystem
    /// is frozen. The data of an inode may be locked before.
    pub(crate) fn lock_space(&self, kind: DeviceKind, group: u32) -> Result<Option<Group<'_>>> {
        self.lock(kind, group, true)
    }

    fn lock(&self, kind: DeviceKind, group: u32, write: bool) -> Result<Option<Group<'_>>> {
        let mut raw = bindings::xfs_rust_group::default();

        // SAFETY: The mount is complete, and `raw` may be written.
        let ret = unsafe {
            bindings::xfs_rust_lock_group(self.as_raw(), kind as u32, group, write, &mut raw)
        };
        match to_result(ret) {
            // INVARIANT: Locked just now.
            Ok(()) => Ok(Some(Group {
                raw,
                mount: PhantomData,
                _here: NotThreadSafe,
            })),
            Err(e) if e == ENOENT => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Writes zeroes to a device, and waits for it; this clears errors. Returns [`EIO`] if it
    /// can't.
    pub(crate) fn zero(&self, kind: DeviceKind, sectors: Sectors) -> Result {
        // SAFETY: The mount is complete.
        to_result(unsafe {
            bindings::xfs_rust_zero(
                self.as_raw(),
                kind as u32,
                sectors.start,
                sectors.end - sectors.start,
            )
        })
    }

    /// Waits until what was freed before is free on disk too.
    pub(crate) fn force_log(&self) {
        // SAFETY: The mount is complete.
        unsafe { bindings::xfs_rust_force_log(self.as_raw()) };
    }

    /// Frees what copies on write have reserved in files that are clean, or can be made so, and
    /// that nobody has locked.
    pub(crate) fn cancel_staging(&self) {
        // SAFETY: The mount is complete, and no inode of it is locked.
        unsafe { bindings::xfs_rust_cancel_staging(self.as_raw()) };
    }

    /// An inode that is in memory, or `None`: then nobody maps it.
    pub(crate) fn inode_in_memory(&self, ino: u64) -> Result<Option<Inode<'_>>> {
        self.get_inode(ino, true)
    }

    /// An inode, which is read if it is not in memory; `None` if there is none of that number, or
    /// it is being deleted.
    pub(crate) fn inode(&self, ino: u64) -> Result<Option<Inode<'_>>> {
        self.get_inode(ino, false)
    }

    fn get_inode(&self, ino: u64, in_memory: bool) -> Result<Option<Inode<'_>>> {
        let mut inode = core::ptr::null_mut();

        // SAFETY: The mount is complete, and `inode` may be written.
        let ret = unsafe { bindings::xfs_rust_iget(self.as_raw(), ino, in_memory, &mut inode) };
        match to_result(ret) {
            // INVARIANT: `xfs_rust_iget()` has taken a reference.
            Ok(()) => Ok(NonNull::new(inode).map(|ptr| Inode(ptr, PhantomData))),
            // Not in memory; on its way into memory or out of it; deleted.
            Err(e) if [ENODATA, EAGAIN, ENOENT, EINVAL].contains(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Looks for inodes that are mapped.
    pub(crate) fn mapped_inodes(&self) -> MappedInodes<'_> {
        // INVARIANT: There is no AG yet.
        MappedInodes {
            mount: ActiveMount(self.0),
            pag: core::ptr::null_mut(),
        }
    }

    /// Reports a media error to the health monitor.
    pub(crate) fn report_media(&self, kind: DeviceKind, sectors: Sectors) {
        // SAFETY: The mount is complete.
        unsafe {
            bindings::xfs_rust_report_media(
                self.as_raw(),
                kind as u32,
                sectors.start,
                sectors.end - sectors.start,
            )
        };
    }

    /// Reports to the health monitor that a media error is gone.
    pub(crate) fn report_cleared(&self, kind: DeviceKind, sectors: Sectors) {
        // SAFETY: The mount is complete.
        unsafe {
            bindings::xfs_rust_report_cleared(
                self.as_raw(),
                kind as u32,
                sectors.start,
                sectors.end - sectors.start,
            )
        };
    }

    /// Traces that bytes of a device failed.
    pub(crate) fn trace_event(&self, kind: DeviceKind, bytes: DeviceBytes, flags: dax::MfFlags) {
        // SAFETY: The mount is complete. CAST: The flags are bits.
        unsafe {
            bindings::xfs_rust_trace_event(
                self.as_raw(),
                kind as u32,
                bytes.start,
                bytes.end - bytes.start,
                flags.as_raw() as u32,
            )
        };
    }

    /// Traces that a file owned what failed.
    pub(crate) fn trace_owner(&self, ino: u64, pos: u64, len: u64) {
        // SAFETY: The mount is complete.
        unsafe { bindings::xfs_rust_trace_owner(self.as_raw(), ino, pos, len) };
    }

    /// Traces a step of the repair of bytes of a device.
    pub(crate) fn trace_repair(&self, kind: DeviceKind, bytes: DeviceBytes, step: Step) {
        // SAFETY: The mount is complete.
        unsafe {
            bindings::xfs_rust_trace_repair(
                self.as_raw(),
                kind as u32,
                bytes.start,
                bytes.end - bytes.start,
                step as u32,
            )
        };
    }

    /// Ends all use of the filesystem because it is damaged on disk.
    pub(crate) fn shut_down_corrupt(&self) {
        // SAFETY: The mount is complete.
        unsafe { bindings::xfs_rust_shutdown_corrupt(self.as_raw()) };
    }

    /// Ends all use of the filesystem because its device goes.
    pub(crate) fn shut_down_for_removal(&self) {
        // SAFETY: The mount is complete.
        unsafe { bindings::xfs_rust_shutdown_umount(self.as_raw()) };
    }

    /// Takes all DAX memory away from processes and inodes. After a shutdown they get no new one.
    ///
    /// Takes the invalidate lock of each file, and so waits for faults: the caller must neither
    /// hold a lock of an inode nor keep the filesystem frozen.
    pub(crate) fn detach_all(&self) {
        // SAFETY: The mount is complete and has a superblock.
        unsafe { bindings::xfs_rust_detach_all(self.as_raw()) };
    }
}

/// A group that is locked.
///
/// # Invariants
///
/// `xfs_rust_lock_group()` has locked `raw`.
pub(crate) struct Group<'a> {
    raw: bindings::xfs_rust_group,
    mount: PhantomData<&'a ActiveMount<'a>>,
    _here: NotThreadSafe,
}

impl Group<'_> {
    /// All blocks of the group.
    pub(crate) fn blocks(&self) -> GroupBlocks {
        GroupBlocks {
            start: 0,
            end: u64::from(self.raw.blocks),
        }
    }

    /// Shows `visit` all records that cover any of `blocks`, in order, until it says
    /// [`Next::Full`].
    ///
    /// `visit` must neither lock nor allocate. If the btree can't be read to the end, it has seen
    /// the rest.
    pub(crate) fn query_rmap<F>(&self, blocks: GroupBlocks, mut visit: F) -> Result
    where
        F: FnMut(&Record) -> Next,
    {
        // CAST: A group has fewer than 2^32 blocks, and `blocks` is not empty.
        let (first, last) = (blocks.start as u32, (blocks.end - 1) as u32);

        // SAFETY: By the type invariant, the group is locked; `visit_record::<F>` gets an `F` as
        // it expects, which nobody else uses.
        let ret = unsafe {
            bindings::xfs_rust_query_rmap(
                &self.raw,
                first,
                last,
                Some(visit_record::<F>),
                (&raw mut visit).cast(),
            )
        };
        match to_result(ret) {
            Err(e) if e == ECANCELED => Ok(()),
            res => res,
        }
    }

    /// Whether all of `blocks` are free, and will be after a crash. The group must be locked with
    /// [`ActiveMount::lock_space()`].
    pub(crate) fn is_free(&self, blocks: GroupBlocks) -> Result<bool> {
        // SAFETY: By the type invariant, the group is locked. CAST: As in `query_rmap()`.
        let ret = unsafe {
            bindings::xfs_rust_is_free(&self.raw, blocks.start as u32, blocks.count() as u32)
        };

        to_result(ret.min(0)).map(|()| ret > 0)
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, the group is locked.
        unsafe { bindings::xfs_rust_unlock_group(&mut self.raw) };
    }
}

/// Tells which inodes are mapped.
///
/// # Invariants
///
/// `pag` is null or a reference to an AG of the mount.
pub(crate) struct MappedInodes<'a> {
    mount: ActiveMount<'a>,
    pag: *mut bindings::xfs_perag,
}

impl MappedInodes<'_> {
    /// Whether any process may map a part of this inode's data. Whoever begins to from now on has
    /// not looked for marks yet.
    pub(crate) fn has(&mut self, ino: u64) -> bool {
        // SAFETY: The mount is complete. By the type invariant, `pag` is as it must be.
        unsafe { bindings::xfs_rust_may_be_mapped(self.mount.as_raw(), ino, &mut self.pag) }
    }
}

impl Drop for MappedInodes<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, we own the reference.
        unsafe { bindings::xfs_rust_perag_put(self.pag) };
    }
}

/// # Safety
///
/// `rec` must be valid, and `data` point to an `F` that nobody else uses.
unsafe extern "C" fn visit_record<F: FnMut(&Record) -> Next>(
    rec: *const bindings::xfs_rust_rmap,
    data: *mut c_void,
) -> c_int {
    // SAFETY: As the caller guarantees.
    let (rec, visit) = unsafe { (&*rec, &mut *data.cast::<F>()) };
    let record = Record {
        start: rec.start,
        count: rec.count,
        owner: rec.owner,
        offset: rec.offset,
        attr_fork: rec.attr_fork,
        bmbt_block: rec.bmbt_block,
        unwritten: rec.unwritten,
    };

    match visit(&record) {
        Next::Continue => 0,
        Next::Full => ECANCELED.to_errno(),
    }
}

/// An inode of an active mount.
///
/// # Invariants
///
/// Owns a reference.
pub(crate) struct Inode<'a>(NonNull<bindings::inode>, PhantomData<&'a ActiveMount<'a>>);

impl Inode<'_> {
    /// Takes pages `index..index + count` away from all processes, and has `notice` signal them.
    ///
    /// Where `pfn` is given, only pages that are page frames `pfn..` still. Waits for faults on
    /// these pages, which may want the lock of any group.
    pub(crate) fn revoke(
        &self,
        notice: &mut Notice,
        index: usize,
        count: usize,
        pfn: Option<usize>,
    ) -> Result {
        // SAFETY: We have a reference to the inode.
        let mapping = unsafe { bindings::xfs_rust_dax_mapping(self.0.as_ptr()) };

        if mapping.is_null() {
            return Ok(());
        }
        // SAFETY: We have a reference to the inode.
        unsafe { notice.owner(mapping, index, count, pfn) }
    }

    /// Keeps everybody from writing to the file, and sees that nothing is on its way to `len`
    /// bytes at `pos`. Returns [`EAGAIN`] if somebody has the file locked.
    pub(crate) fn lock_data(&self, pos: u64, len: u64) -> Result<DataLock<'_>> {
        // SAFETY: We have a reference to the inode. CAST: Files end before 2^63.
        to_result(unsafe { bindings::xfs_rust_lock_data(self.0.as_ptr(), pos as i64, len) })?;
        // INVARIANT: Locked just now.
        Ok(DataLock(self, NotThreadSafe))
    }

    /// Reports to fanotify and the health monitor that `len` bytes at `pos` are lost.
    pub(crate) fn report_lost(&self, pos: u64, len: u64) {
        // SAFETY: We have a reference to the inode. CAST: Files end before 2^63.
        unsafe { bindings::xfs_rust_report_lost(self.0.as_ptr(), pos as i64, len) };
    }
}

impl Drop for Inode<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, we own a reference.
        unsafe { bindings::xfs_rust_irele(self.0.as_ptr()) };
    }
}

/// A file that nobody writes to.
///
/// # Invariants
///
/// The inode's data is locked.
pub(crate) struct DataLock<'a>(&'a Inode<'a>, NotThreadSafe);

impl Drop for DataLock<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::xfs_rust_unlock_data(self.0 .0.as_ptr()) };
    }
}

/// Has `work` run now if it was enqueued, and waits until it is done.
pub(crate) fn flush_work<T>(work: &DelayedWork<T>) {
    // SAFETY: The pointer comes from a reference.
    let work = unsafe { Work::raw_get(DelayedWork::raw_as_work(work)) };

    // SAFETY: This is the `work` of a `delayed_work`, which `DelayedWork::new()` has initialized.
    unsafe { bindings::flush_delayed_work(container_of!(work, bindings::delayed_work, work)) };
}

/// Pages of a device that are looked at together: a GiB of them.
const AT_ONCE: usize = 1 << (30 - PAGE_SHIFT);

/// The pages of a device that are known to have failed, each as its bytes.
pub(crate) struct Poisoned<'a> {
    dev: &'a dax::Device,
    bytes: DeviceBytes,
}

impl<'a> Poisoned<'a> {
    /// Looks for those that `bytes` touches.
    pub(crate) fn new(dev: &'a dax::Device, bytes: DeviceBytes) -> Self {
        Self { dev, bytes }
    }

    fn first(&self) -> Result<Option<DeviceBytes>> {
        let end = usize::try_from((self.bytes.end - 1) >> PAGE_SHIFT)? + 1;
        let mut pgoff = usize::try_from(self.bytes.start >> PAGE_SHIFT)?;

        while pgoff < end {
            let guard = dax::read_lock();
            let pages = (end - pgoff).min(AT_ONCE);

            if let Some(good) = self.dev.good_pages(&guard, pgoff, pages)? {
                pgoff += good.max(1);
                continue;
            }
            // How far it is to the first one; with it, if it is not its first sector that failed.
            let (_, good) = self.dev.pfn(&guard, pgoff, pages)?;
            let last = pgoff + good.max(1) - 1;
            if self.dev.good_pages(&guard, last, 1)?.is_none() {
                let start = (last as u64) << PAGE_SHIFT;
                return Ok(Some(DeviceBytes {
                    start,
                    end: start + (1 << PAGE_SHIFT),
                }));
            }
            pgoff = last + 1;
        }
        Ok(None)
    }
}

impl Iterator for Poisoned<'_> {
    type Item = DeviceBytes;

    fn next(&mut self) -> Option<DeviceBytes> {
        if self.bytes.start >= self.bytes.end {
            return None;
        }
        // If the device is gone, so are its errors.
        let found = self.first().ok().flatten();

        self.bytes.start = found.map_or(self.bytes.end, |bad| bad.end);
        found
    }
}
