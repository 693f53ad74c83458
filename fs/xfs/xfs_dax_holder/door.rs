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
    prelude::*,
    sync::aref::ARef,
    types::Opaque, //
};

/// Structure or data of the filesystem is damaged on disk (`EFSCORRUPTED`).
pub(crate) fn efscorrupted() -> Error {
    // CAST: Error numbers are small.
    Error::from_errno(-(bindings::EUCLEAN as i32))
}

/// One of a mount's devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum DeviceKind {
    /// The data device, with an internal log if there is no other.
    Data = bindings::xfs_rust_device_XFS_RUST_DATA,
    /// An external log.
    Log = bindings::xfs_rust_device_XFS_RUST_LOG,
    /// A realtime device.
    Rt = bindings::xfs_rust_device_XFS_RUST_RT,
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
    pub(crate) fn activate(&self) -> Option<ActiveMount<'_>> {
        Some(ActiveMount {
            mount: self,
            sb: self.super_block().activate()?,
        })
    }
}

/// A mount that is complete, and no part of whose shutdown runs while this lives.
pub(crate) struct ActiveMount<'a> {
    mount: &'a Mount,
    pub(crate) sb: ActiveSuperBlock,
}

impl ActiveMount<'_> {
    fn as_raw(&self) -> *mut bindings::xfs_mount {
        self.mount.as_raw()
    }

    pub(crate) fn name(&self) -> &CStr {
        self.mount.name()
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

    /// Shows `visit` all records that cover any of `blocks`, in order, until it says
    /// [`Next::Full`], and returns the size of the group in blocks, 0 if there is no such group.
    ///
    /// `visit` runs under the lock of the group: it must neither lock nor allocate. If the btree
    /// can't be read to the end, the error comes beside the size, and `visit` has seen the rest.
    pub(crate) fn query_rmap<F: FnMut(&Record) -> Next>(
        &self,
        kind: DeviceKind,
        group: u32,
        blocks: GroupBlocks,
        mut visit: F,
    ) -> (u32, Result) {
        let mut size = 0;
        // CAST: A group has fewer than 2^32 blocks, and `blocks` is not empty.
        let (first, last) = (blocks.start as u32, (blocks.end - 1) as u32);

        // SAFETY: The mount is complete, nothing of XFS is locked, and `visit_record::<F>` gets an
        // `F` as it expects, which nobody else uses.
        let ret = unsafe {
            bindings::xfs_rust_query_rmap(
                self.as_raw(),
                kind as u32,
                group,
                first,
                last,
                Some(visit_record::<F>),
                (&raw mut visit).cast(),
                &mut size,
            )
        };
        match to_result(ret) {
            Err(e) if e == ECANCELED => (size, Ok(())),
            res => (size, res),
        }
    }

    /// An inode that is in memory, or `None`: then nobody maps it.
    pub(crate) fn inode(&self, ino: u64) -> Result<Option<Inode<'_>>> {
        let mut inode = core::ptr::null_mut();

        // SAFETY: The mount is complete, and `inode` may be written.
        let ret = unsafe { bindings::xfs_rust_iget_incore(self.as_raw(), ino, &mut inode) };
        match to_result(ret) {
            // INVARIANT: `xfs_rust_iget_incore()` has taken a reference.
            Ok(()) => Ok(NonNull::new(inode).map(|ptr| Inode(ptr, PhantomData))),
            // On its way into memory or out of it, or deleted and closed.
            Err(e) if e == ENODATA || e == EAGAIN || e == ENOENT => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Looks for inodes that are mapped.
    pub(crate) fn mapped_inodes(&self) -> MappedInodes<'_> {
        // INVARIANT: There is no AG yet.
        MappedInodes {
            mount: self,
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

/// Tells which inodes are mapped.
///
/// # Invariants
///
/// `pag` is null or a reference to an AG of the mount.
pub(crate) struct MappedInodes<'a> {
    mount: &'a ActiveMount<'a>,
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
