// SPDX-License-Identifier: GPL-2.0

//! The part of XFS's C that the holder uses. Nothing else in this folder calls C.
//!
//! C header: `fs/xfs/xfs_rust.h`

use super::{
    chunk::Next,
    rmap::Record,
    translate::{
        Geometry,
        Span,
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
    mem::ManuallyDrop,
    ops::Deref,
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
    fmt::{
        self,
        Write, //
    },
    fs::super_block::{
        ActiveSuperBlock,
        SuperBlock, //
    },
    page::PAGE_SHIFT,
    prelude::*,
    str::NullTerminatedFormatter,
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
///
/// # Invariants
///
/// The mount has a superblock and open devices, and `xfs_rust_init()` was called for it.
#[repr(transparent)]
pub(crate) struct Mount(Opaque<bindings::xfs_mount>);

// SAFETY: The methods read which superblock and devices the mount has, which does not change while
// they are open, and sizes, by `READ_ONCE()` as a growfs changes them. `___ratelimit()` takes the
// lock of its state.
unsafe impl Sync for Mount {}

impl Mount {
    /// Borrows a mount from its C pointer, and initializes what messages need.
    ///
    /// # Safety
    ///
    /// `mp` must point to an `xfs_mount` that has a superblock and open devices for `'a`. This must
    /// be called once only for each mount.
    pub(crate) unsafe fn from_raw<'a>(mp: *mut bindings::xfs_mount) -> &'a Self {
        // SAFETY: As the caller guarantees, the mount is valid, and as this is the only call, no
        // message uses yet what is initialized.
        unsafe { bindings::xfs_rust_init(mp) };
        // INVARIANT: `xfs_rust_init()` was called just now, the rest is as the caller guarantees.
        // CAST: `Self` is transparent.
        // SAFETY: As the caller guarantees, the mount is valid for `'a`.
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
        // SAFETY: By the type invariant, the mount has a superblock for as long as it is borrowed.
        unsafe { SuperBlock::from_raw(bindings::xfs_rust_super(self.as_raw())) }
    }

    /// Whether any of the devices does DAX.
    pub(crate) fn has_dax(&self) -> bool {
        // SAFETY: By the type invariant, the mount's devices are open.
        unsafe { bindings::xfs_rust_has_dax(self.as_raw()) }
    }

    /// Tells an administrator what needs attention at once.
    pub(crate) fn alert(&self, text: fmt::Arguments<'_>) {
        self.message(bindings::xfs_rust_level_XFS_RUST_ALERT, text);
    }

    /// Tells an administrator what was lost, or could not be done.
    pub(crate) fn warn(&self, text: fmt::Arguments<'_>) {
        self.message(bindings::xfs_rust_level_XFS_RUST_WARN, text);
    }

    /// Tells an administrator what was done.
    pub(crate) fn info(&self, text: fmt::Arguments<'_>) {
        self.message(bindings::xfs_rust_level_XFS_RUST_INFO, text);
    }

    /// Writes a line to the kernel's log as the rest of XFS does, if there were not too many. What
    /// is too long is cut.
    fn message(&self, level: bindings::xfs_rust_level, text: fmt::Arguments<'_>) {
        let mut line = [0_u8; 256];

        if let Some(mut to) = NullTerminatedFormatter::new(&mut line) {
            let _ = to.write_fmt(text);
        }
        // SAFETY: By the type invariant, `xfs_rust_init()` was called, and the mount has a
        // superblock, whose name is printed. `NullTerminatedFormatter` ends `line` with a zero.
        unsafe { bindings::xfs_rust_message(self.as_raw(), level, line.as_ptr().cast()) };
    }

    /// One of the devices, or `None` if there is none that does DAX.
    pub(crate) fn device(&self, kind: DeviceKind) -> Option<(ARef<dax::Device>, Target)> {
        let mut raw = bindings::xfs_rust_target::default();

        // SAFETY: By the type invariant, the mount's devices are open. `raw` may be written.
        if !unsafe { bindings::xfs_rust_get_target(self.as_raw(), kind as u32, &mut raw) } {
            return None;
        }
        // SAFETY: The pointer is not null, as was just returned. The `xfs_buftarg` has a reference
        // to the device for as long as the mount is borrowed, as its devices are open.
        let dev = unsafe { dax::Device::from_raw(raw.dax_dev) };
        let target = Target {
            offset: raw.offset,
            first: raw.first,
            end: raw.end,
        };
        Some((dev.into(), target))
    }

    /// Whether it is no device of its own, but a section of the data device.
    pub(crate) fn is_section(&self, kind: DeviceKind) -> bool {
        let mut raw = bindings::xfs_rust_target::default();

        // SAFETY: By the type invariant, the mount's devices are open. `raw` may be written.
        let found = unsafe { bindings::xfs_rust_get_target(self.as_raw(), kind as u32, &mut raw) };

        found && raw.section
    }

    /// The device that the mount holds as `kind`, and a realtime section of it if there is one.
    fn kinds(&self, kind: DeviceKind) -> impl Iterator<Item = DeviceKind> {
        let section =
            Some(DeviceKind::Rt).filter(|rt| kind == DeviceKind::Data && self.is_section(*rt));

        [Some(kind), section].into_iter().flatten()
    }

    /// Whether any of what failed belongs to the mount, on the device that it holds as `kind`.
    pub(crate) fn is_hit(&self, kind: DeviceKind, failure: dax::Failure) -> bool {
        self.kinds(kind)
            .filter_map(|kind| self.device(kind))
            .any(|(_, place)| part_of(&place, failure).is_some())
    }

    /// Keeps the mount from being shut down, or returns `None` if it is not complete yet, or not
    /// any more.
    pub(crate) fn activate(&self) -> Option<ActiveSuperBlock> {
        self.super_block().activate()
    }
}

/// A mount that is complete, and no part of whose shutdown runs while this lives.
///
/// # Invariants
///
/// For `'a`, the mount is complete: `xfs_mountfs()` has succeeded, and neither
/// `generic_shutdown_super()` nor `xfs_unmountfs()` begins.
#[derive(Clone, Copy)]
pub(crate) struct ActiveMount<'a>(&'a Mount);

impl Deref for ActiveMount<'_> {
    type Target = Mount;

    fn deref(&self) -> &Mount {
        self.0
    }
}

impl<'a> ActiveMount<'a> {
    /// # Safety
    ///
    /// `xfs_mountfs()` must have succeeded for the mount, and neither `generic_shutdown_super()`
    /// nor `xfs_unmountfs()` may begin for `'a`.
    pub(crate) unsafe fn new(mount: &'a Mount) -> Self {
        // INVARIANT: As the caller guarantees.
        Self(mount)
    }

    fn as_raw(&self) -> *mut bindings::xfs_mount {
        self.0.as_raw()
    }

    /// One of the devices, or `None` if there is none that does DAX.
    pub(crate) fn device(&self, kind: DeviceKind) -> Option<(ARef<dax::Device>, Target)> {
        self.0.device(kind)
    }

    /// Has the holder told of what is freed, or not.
    pub(crate) fn set_bad(&self, bad: bool) {
        // SAFETY: By the type invariant, the mount is complete.
        unsafe { bindings::xfs_rust_set_bad(self.as_raw(), bad) };
    }

    /// Whether the holder is told of what is freed.
    pub(crate) fn is_bad(&self) -> bool {
        // SAFETY: By the type invariant, the mount is complete.
        unsafe { bindings::xfs_rust_is_bad(self.as_raw()) }
    }

    /// One of the devices, or a section of one, as it is now; `None` if there is none that does
    /// DAX.
    pub(crate) fn target(&self, kind: DeviceKind) -> Option<DaxTarget<'a>> {
        let (dev, place) = self.device(kind)?;

        // INVARIANT: `device()` has found the device.
        Some(DaxTarget {
            mount: *self,
            kind,
            dev,
            place,
            geometry: self.geometry(kind).ok(),
        })
    }

    /// What the mount has on the device that it holds as `kind`: that device, and for the data
    /// device a realtime section at its end.
    pub(crate) fn targets(&self, kind: DeviceKind) -> impl Iterator<Item = DaxTarget<'a>> {
        let mount = *self;

        self.0
            .kinds(kind)
            .filter_map(move |kind| mount.target(kind))
    }

    /// Whether it was shut down: then nothing is read from the devices any more.
    pub(crate) fn is_shut_down(&self) -> bool {
        // SAFETY: By the type invariant, the mount is complete.
        unsafe { bindings::xfs_rust_is_shutdown(self.as_raw()) }
    }

    /// Whether it is mounted to be written to, and was not shut down because of an error.
    pub(crate) fn is_writable(&self) -> bool {
        // SAFETY: By the type invariant, the mount is complete.
        unsafe { bindings::xfs_rust_is_writable(self.as_raw()) }
    }

    /// How the blocks of a device are dealt out, or [`EOPNOTSUPP`] if they have no reverse mapping.
    pub(crate) fn geometry(&self, kind: DeviceKind) -> Result<Geometry> {
        let mut raw = bindings::xfs_rust_geometry::default();

        // SAFETY: By the type invariant, the mount is complete. `raw` may be written.
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

    /// Locks a group, or returns `None` if there is none of that number: the owners of its blocks
    /// do not change. Returns [`EOPNOTSUPP`] if its blocks have no reverse mapping.
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

        // SAFETY: By the type invariant, the mount is complete. `raw` may be written.
        let ret = unsafe {
            bindings::xfs_rust_lock_group(self.as_raw(), kind as u32, group, write, &mut raw)
        };
        match to_result(ret) {
            // INVARIANT: `xfs_rust_lock_group()` locked the group just now.
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
        // SAFETY: By the type invariant, the mount is complete. `xfs_rust_zero()` looks whether it
        // has the device, and the block layer whether that has the sectors.
        to_result(unsafe {
            bindings::xfs_rust_zero(
                self.as_raw(),
                kind as u32,
                sectors.start,
                sectors.end - sectors.start,
            )
        })
    }

    /// Waits until what was written to a device is on its media.
    pub(crate) fn flush(&self, kind: DeviceKind) -> Result {
        // SAFETY: As in `zero()`.
        to_result(unsafe { bindings::xfs_rust_flush(self.as_raw(), kind as u32) })
    }

    /// Waits until what was freed before is free on disk too.
    pub(crate) fn force_log(&self) {
        // SAFETY: By the type invariant, the mount is complete.
        unsafe { bindings::xfs_rust_force_log(self.as_raw()) };
    }

    /// Frees what copies on write have reserved in files that are clean, or can be made so, and
    /// that nobody has locked.
    pub(crate) fn cancel_staging(&self) {
        // SAFETY: By the type invariant, the mount is complete. A caller that held the lock of an
        // inode or `s_umount` would wait for itself at worst.
        unsafe { bindings::xfs_rust_cancel_staging(self.as_raw()) };
    }

    /// An inode that is in memory, or `None`: then nobody maps it.
    pub(crate) fn inode_in_memory(&self, ino: u64) -> Result<Option<Inode<'_>>> {
        self.get_inode(ino, true)
    }

    /// An inode, which is read if it is not in memory; `None` if there is none of that number, or
    /// it is being deleted. [`EAGAIN`] if it can't be had before the filesystem is thawed,
    /// [`EBUSY`] if it leaves memory and a page of it is pinned.
    pub(crate) fn inode(&self, ino: u64) -> Result<Option<Inode<'_>>> {
        self.get_inode(ino, false)
    }

    fn get_inode(&self, ino: u64, in_memory: bool) -> Result<Option<Inode<'_>>> {
        let mut inode = core::ptr::null_mut();

        // SAFETY: By the type invariant, the mount is complete. `inode` may be written; it stays
        // null unless 0 is returned.
        let ret = unsafe { bindings::xfs_rust_iget(self.as_raw(), ino, in_memory, &mut inode) };
        match to_result(ret) {
            // INVARIANT: `xfs_rust_iget()` has taken a reference to an inode of the mount.
            Ok(()) => Ok(NonNull::new(inode).map(|ptr| Inode(ptr, PhantomData))),
            // On its way into memory or out of it.
            Err(e) if e == EAGAIN && in_memory => Ok(None),
            // Not in memory; deleted.
            Err(e) if [ENODATA, ENOENT, EINVAL].contains(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Looks for inodes that are mapped.
    pub(crate) fn mapped_inodes(&self) -> MappedInodes<'_> {
        // INVARIANT: There is no AG yet, so `pag` is null.
        MappedInodes {
            mount: *self,
            pag: core::ptr::null_mut(),
        }
    }

    /// Reports a media error to the health monitor.
    pub(crate) fn report_media(&self, kind: DeviceKind, sectors: Sectors) {
        // SAFETY: By the type invariant, the mount is complete.
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
        // SAFETY: By the type invariant, the mount is complete.
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
        // SAFETY: By the type invariant, the mount is complete. CAST: The flags are bits.
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
        // SAFETY: By the type invariant, the mount is complete.
        unsafe { bindings::xfs_rust_trace_owner(self.as_raw(), ino, pos, len) };
    }

    /// Traces a step of the repair of bytes of a device.
    pub(crate) fn trace_repair(&self, kind: DeviceKind, bytes: DeviceBytes, step: Step) {
        // SAFETY: By the type invariant, the mount is complete.
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

    /// Ends all use of the filesystem because metadata of it failed, and returns the error that
    /// tells so, `EFSCORRUPTED`.
    pub(crate) fn shut_down_corrupt(&self) -> Error {
        // SAFETY: By the type invariant, the mount is complete.
        Error::from_errno(unsafe { bindings::xfs_dax_metadata_failed(self.as_raw()) })
    }

    /// Ends all use of the filesystem because its device goes.
    pub(crate) fn shut_down_for_removal(&self) {
        // SAFETY: By the type invariant, the mount is complete.
        unsafe { bindings::xfs_dax_device_removed(self.as_raw()) };
    }

    /// Has the health of the filesystem tell that metadata which `rec` describes may be damaged on
    /// the device: `sectors`, counted from the start of the group. Inodes may be read for that.
    pub(crate) fn mark_sick(&self, kind: DeviceKind, group: u32, rec: &Record, sectors: Sectors) {
        let rec = bindings::xfs_rust_rmap {
            owner: rec.owner,
            offset: rec.offset,
            start: rec.start,
            count: rec.count,
            attr_fork: rec.attr_fork,
            bmbt_block: rec.bmbt_block,
            unwritten: rec.unwritten,
        };

        // SAFETY: By the type invariant, the mount is complete. `rec` is only read.
        unsafe {
            bindings::xfs_rust_mark_sick(
                self.as_raw(),
                kind as u32,
                group,
                &rec,
                sectors.start,
                sectors.end - sectors.start,
            )
        };
    }

    /// Looks for files that are accessed by DAX and that processes map.
    pub(crate) fn mapped_files(&self) -> MappedFiles<'_> {
        MappedFiles {
            mount: *self,
            last: None,
        }
    }

    /// Takes all DAX memory away from processes and inodes. After a shutdown they get no new one.
    ///
    /// Takes the invalidate lock of each file, and so waits for faults: the caller must neither
    /// hold a lock of an inode nor keep the filesystem frozen.
    pub(crate) fn detach_all(&self) {
        // SAFETY: By the type invariant, the mount is complete. The inodes of its superblock are
        // walked under `s_inode_list_lock`, with a reference to the one that is worked on.
        unsafe { bindings::xfs_rust_detach_all(self.as_raw()) };
    }
}

/// The part of a failure that is in a place on the device, if any.
fn part_of(place: &Target, failure: dax::Failure) -> Option<DeviceBytes> {
    let whole = place.whole()?;

    match failure {
        dax::Failure::WholeDevice => Some(whole),
        dax::Failure::Range(range) => whole.intersect(DeviceBytes {
            start: range.offset(),
            end: range.end(),
        }),
    }
}

/// One of a mount's devices, or a section of one, as it is now. A growfs changes that, so it is
/// made anew for each event.
///
/// # Invariants
///
/// `mount` has a device `kind`, which `xfs_rust_get_target()` has found.
pub(crate) struct DaxTarget<'a> {
    pub(crate) mount: ActiveMount<'a>,
    pub(crate) kind: DeviceKind,
    pub(crate) dev: ARef<dax::Device>,
    place: Target,
    /// `None` if its blocks have no reverse mapping.
    geometry: Option<Geometry>,
}

impl DaxTarget<'_> {
    /// The part of a failure that is here, or `None` if all of it is elsewhere.
    pub(crate) fn part_of(&self, failure: dax::Failure) -> Option<DeviceBytes> {
        part_of(&self.place, failure)
    }

    /// The sectors that `bytes` touches.
    pub(crate) fn sectors(&self, bytes: DeviceBytes) -> Option<Sectors> {
        self.place.sectors_in(bytes)
    }

    /// The first part of `bytes` that the device lists as bad: to the sector. `None` if the device
    /// is gone.
    pub(crate) fn first_bad(&self, bytes: DeviceBytes) -> Option<DeviceBytes> {
        let sectors = self.sectors(bytes)?;
        let (mut first, mut count) = (sectors.start, sectors.end - sectors.start);
        let pgoff = usize::try_from(bytes.start >> PAGE_SHIFT).ok()?;
        let guard = dax::read_lock();

        // A driver that is unbound frees the list, while the mount goes on.
        self.dev.pfn(&guard, pgoff, 1).ok()?;
        // SAFETY: By the type invariant, the mount has this device, and it is open. `guard` is a
        // section in which the device was seen alive: the driver frees the list of bad blocks only
        // after `kill_dax()` has waited for it. `first` and `count` may be written.
        let found = unsafe {
            bindings::xfs_rust_find_bad(
                self.mount.as_raw(),
                self.kind as u32,
                &mut first,
                &mut count,
            )
        };
        let bad = self.place.bytes_of(Sectors {
            start: first,
            end: first + count,
        });
        bytes.intersect(bad).filter(|_| found)
    }

    /// Whether owners of its blocks can be looked up.
    pub(crate) fn has_rmap(&self) -> bool {
        self.geometry.is_some()
    }

    /// Splits `bytes` by group. There are none where owners can't be looked up.
    pub(crate) fn spans(&self, bytes: DeviceBytes) -> impl Iterator<Item = Span> {
        let spans = |geo: Geometry| Some(geo.spans(self.sectors(bytes)?));

        self.geometry.and_then(spans).into_iter().flatten()
    }

    /// The bytes that `blocks` of a group are, which [`DaxTarget::spans()`] has found.
    pub(crate) fn bytes_of(&self, group: u32, blocks: GroupBlocks) -> Option<DeviceBytes> {
        Some(self.geometry?.bytes_of(&self.place, group, blocks))
    }

    /// log2 of a block's bytes.
    pub(crate) fn block_shift(&self) -> u32 {
        self.geometry.map_or(0, |geo| geo.block_shift)
    }
}

/// A group that is locked.
///
/// # Invariants
///
/// `xfs_rust_lock_group()` has filled in `raw`: the group has a reverse mapping btree, and this
/// task holds its locks until `drop()`. The mount is active for `'a`.
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

        // SAFETY: By the type invariant, the group is locked and has the btree. `visit_record::<F>`
        // is called before this returns only, and gets an `F` as it expects, which is not used
        // otherwise until then.
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

    /// Whether all of `blocks` are free, and will be after a crash; [`EOPNOTSUPP`] in a zone, which
    /// is freed as a whole, [`EINVAL`] if the group was not locked with
    /// [`ActiveMount::lock_space()`].
    pub(crate) fn is_free(&self, blocks: GroupBlocks) -> Result<bool> {
        if !self.raw.write {
            return Err(EINVAL);
        }
        // SAFETY: By the type invariant, the group is locked; as it is locked to write, so is the
        // bitmap of a realtime group. CAST: As in `query_rmap()`.
        let ret = unsafe {
            bindings::xfs_rust_is_free(&self.raw, blocks.start as u32, blocks.count() as u32)
        };

        to_result(ret.min(0)).map(|()| ret > 0)
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, the group is locked, by this task. It is not used after
        // this.
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
    /// Whether any process may map a part of this inode's data. A process that begins to from now
    /// on has not looked for marks yet.
    pub(crate) fn has(&mut self, ino: u64) -> bool {
        // INVARIANT: `pag` becomes null or a reference to the AG of the inode.
        // SAFETY: By the invariant of `ActiveMount`, the mount is complete. By the type invariant,
        // `pag` is null or a reference, which the function may put.
        unsafe { bindings::xfs_rust_may_be_mapped(self.mount.as_raw(), ino, &mut self.pag) }
    }
}

impl MappedInodes<'_> {
    /// Whether the page cache has the data of an inode at `pos` up to date, and for how many of
    /// `len` bytes the answer is the same.
    pub(crate) fn is_cached(&mut self, ino: u64, pos: u64, len: u64) -> (bool, u64) {
        let mut same = len;
        // INVARIANT: As in `has()`.
        // SAFETY: As in `has()`; and `same` may be written.
        let cached = unsafe {
            bindings::xfs_rust_is_cached(self.mount.as_raw(), ino, pos, &mut same, &mut self.pag)
        };

        (cached, same)
    }
}

impl Drop for MappedInodes<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, `pag` is null or a reference that we own.
        unsafe { bindings::xfs_rust_perag_put(self.pag) };
    }
}

/// Goes through the files that are accessed by DAX and that processes map, whatever the state of
/// the filesystem: what they have in memory is looked at, and nothing is read.
pub(crate) struct MappedFiles<'a> {
    mount: ActiveMount<'a>,
    /// Its reference keeps our place.
    last: Option<Inode<'a>>,
}

impl<'a> MappedFiles<'a> {
    /// The next one. No lock of XFS may be held: this can drop the last reference to the one
    /// before.
    pub(crate) fn next(&mut self) -> Option<&Inode<'a>> {
        let prev = self
            .last
            .take()
            .map_or(core::ptr::null_mut(), Inode::into_raw);
        // SAFETY: By the invariant of `ActiveMount`, the mount is complete, so its inodes stay in
        // the list of the superblock while they are in use. `prev` is null or an inode of it, whose
        // reference we give up.
        let inode = unsafe { bindings::xfs_rust_next_mapped(self.mount.as_raw(), prev) };

        // INVARIANT: `xfs_rust_next_mapped()` has taken a reference to an inode of the mount.
        self.last = NonNull::new(inode).map(|ptr| Inode(ptr, PhantomData));
        self.last.as_ref()
    }
}

/// # Safety
///
/// `rec` must be valid for reads, and `data` point to an `F` that is not accessed in any other way
/// until this returns.
unsafe extern "C" fn visit_record<F: FnMut(&Record) -> Next>(
    rec: *const bindings::xfs_rust_rmap,
    data: *mut c_void,
) -> c_int {
    // SAFETY: As the caller guarantees, both are valid, and this is the only access to the `F`.
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
/// Owns a reference to an inode of the mount, which is active for `'a`.
pub(crate) struct Inode<'a>(NonNull<bindings::inode>, PhantomData<&'a ActiveMount<'a>>);

/// Pages of a file that are page frames which follow one another.
pub(crate) struct Frames {
    pub(crate) index: usize,
    pub(crate) pfn: usize,
    pub(crate) count: usize,
}

impl Inode<'_> {
    /// Hands the reference over with the pointer.
    fn into_raw(self) -> *mut bindings::inode {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// Inode number.
    pub(crate) fn ino(&self) -> u64 {
        // SAFETY: By the type invariant, we have a reference to the inode.
        unsafe { bindings::xfs_rust_ino(self.0.as_ptr()) }
    }

    /// The first pages from page `index` on that are any of page frames `pfn..pfn + count`. Waits
    /// for faults, which may want the lock of any group.
    pub(crate) fn find(&self, index: usize, pfn: usize, count: usize) -> Option<Frames> {
        let (mut index, mut pfn) = (index, pfn);
        // SAFETY: By the type invariant, we have a reference to the inode.
        let mapping = unsafe { bindings::xfs_rust_dax_mapping(self.0.as_ptr()) };

        if mapping.is_null() {
            return None;
        }
        // SAFETY: We have a reference to the inode of `mapping`, which is accessed by DAX: `S_DAX`
        // is set when an inode is set up and does not change. `index` and `pfn` may be written.
        let count = unsafe { bindings::dax_find_pfn(mapping, &mut index, &mut pfn, count) };

        (count > 0).then_some(Frames { index, pfn, count })
    }

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
        // SAFETY: By the type invariant, we have a reference to the inode.
        let mapping = unsafe { bindings::xfs_rust_dax_mapping(self.0.as_ptr()) };

        if mapping.is_null() {
            return Ok(());
        }
        // SAFETY: `mapping` is the `i_mapping` of the inode, to which we have a reference.
        unsafe { notice.owner(mapping, index, count, pfn) }
    }

    /// Where the first of `len` bytes at `pos` are: the sector of a device, or `None` if they are
    /// not there, or were never written; and how many of them that holds for.
    pub(crate) fn map(&self, kind: DeviceKind, pos: u64, len: u64) -> Result<(Option<u64>, u64)> {
        let mut raw = bindings::xfs_rust_extent::default();

        // SAFETY: By the type invariant, we have a reference to the inode, and the mount's devices
        // are open. `raw` may be written. CAST: Files end before 2^63.
        to_result(unsafe {
            bindings::xfs_rust_map(self.0.as_ptr(), kind as u32, pos as i64, len, &mut raw)
        })?;
        Ok(((raw.sector != u64::MAX).then_some(raw.sector), raw.bytes))
    }

    /// Locks the file against reads, writes and page faults, and sees that nothing is on its way
    /// to `len` bytes at `pos`. Returns [`EAGAIN`] if the file is locked already.
    pub(crate) fn lock_data(&self, pos: u64, len: u64) -> Result<DataLock<'_>> {
        // SAFETY: By the type invariant, we have a reference to the inode. The locks are only
        // tried. CAST: Files end before 2^63.
        to_result(unsafe { bindings::xfs_rust_lock_data(self.0.as_ptr(), pos as i64, len) })?;
        // INVARIANT: `xfs_rust_lock_data()` took the locks just now.
        Ok(DataLock(self, NotThreadSafe))
    }

    /// Reports to fanotify and the health monitor that `len` bytes at `pos` are lost.
    pub(crate) fn report_lost(&self, pos: u64, len: u64) {
        // SAFETY: By the type invariant, we have a reference to the inode. CAST: Files end before
        // 2^63.
        unsafe { bindings::xfs_rust_report_lost(self.0.as_ptr(), pos as i64, len) };
    }
}

impl Drop for Inode<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, we own a reference, which is given up here.
        unsafe { bindings::xfs_rust_irele(self.0.as_ptr()) };
    }
}

/// A file whose data is locked.
///
/// # Invariants
///
/// `xfs_rust_lock_data()` has taken the inode's locks, for this task, which holds them until
/// `drop()`.
pub(crate) struct DataLock<'a>(&'a Inode<'a>, NotThreadSafe);

impl Drop for DataLock<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, this task holds the locks. The inode outlives `self`.
        unsafe { bindings::xfs_rust_unlock_data(self.0 .0.as_ptr()) };
    }
}

/// Has `work` run now if it was enqueued, and waits until it is done.
pub(crate) fn flush_work<T>(work: &DelayedWork<T>) {
    // SAFETY: The pointer comes from a reference, and what it is cast to is a part of that: so it
    // is not dangling, and aligned.
    let work = unsafe { Work::raw_get(DelayedWork::raw_as_work(work)) };

    // SAFETY: This is the `work` of the `delayed_work` that a `DelayedWork` is, which
    // `DelayedWork::new()` has initialized; it stays for as long as it is borrowed.
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
