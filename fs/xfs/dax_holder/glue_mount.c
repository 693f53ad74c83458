// SPDX-License-Identifier: GPL-2.0
/*
 * Mounts and devices, for the DAX holder, which is in Rust: xfs/mount.rs.
 *
 * The glue has what bindgen can't translate, or could only with all of XFS's
 * headers.  Decisions are made in Rust.  xfs_dax_holder.rs has the lock order.
 */
#include "xfs_platform.h"
#include "xfs_shared.h"
#include "xfs_format.h"
#include "xfs_log_format.h"
#include "xfs_trans_resv.h"
#include "xfs_mount.h"
#include "xfs_inode.h"
#include "xfs_icache.h"
#include "xfs_log.h"
#include "xfs_super.h"
#include "xfs_healthmon.h"
#include "dax_holder/glue.h"
#include "dax_holder/glue_priv.h"

#include <linux/badblocks.h>
#include <linux/ratelimit.h>

/* Messages in five seconds, for each mount. */
#define XFS_RUST_BURST		50

void
xfs_rust_init(
	struct xfs_mount		*mp)
{
	ratelimit_state_init(&mp->m_dax_ratelimit, DEFAULT_RATELIMIT_INTERVAL,
			XFS_RUST_BURST);
}

struct super_block *
xfs_rust_super(
	struct xfs_mount		*mp)
{
	return mp->m_super;
}

/* Return true if any device of the mount does DAX. */
bool
xfs_rust_has_dax(
	struct xfs_mount		*mp)
{
	return mp->m_ddev_targp->bt_daxdev ||
	       (mp->m_logdev_targp && mp->m_logdev_targp->bt_daxdev) ||
	       (mp->m_rtdev_targp && mp->m_rtdev_targp->bt_daxdev);
}

/*
 * Return false if the mount has no such device, or one that does not do DAX.
 * An internal log is part of the data device, whose reverse mappings cover it.
 * An internal realtime section is a device of its own here: it has its own
 * groups, behind those of the data section.
 *
 * A growfs changes sizes, so this is called for each event.
 */
bool
xfs_rust_get_target(
	struct xfs_mount		*mp,
	enum xfs_rust_device		dev,
	struct xfs_rust_target		*target)
{
	struct xfs_buftarg		*btp = xfs_rust_buftarg(mp, dev);
	struct xfs_groups		*g =
		&mp->m_groups[xfs_rust_group_type(dev)];
	u64				first = 0, blocks;

	if (!btp || (dev == XFS_RUST_LOG && btp == mp->m_ddev_targp))
		return false;

	switch (dev) {
	case XFS_RUST_LOG:
		blocks = mp->m_sb.sb_logblocks;
		break;
	case XFS_RUST_RT:
		first = mp->m_sb.sb_rtstart;
		blocks = READ_ONCE(mp->m_sb.sb_rblocks);
		break;
	default:
		blocks = READ_ONCE(mp->m_sb.sb_dblocks);
	}
	target->dax_dev = btp->bt_daxdev;
	target->claim = btp;
	target->offset = btp->bt_dax_part_off;
	target->first = XFS_FSB_TO_BB(mp, first);
	target->end = XFS_FSB_TO_BB(mp, first + blocks);
	target->section = dev == XFS_RUST_RT && btp == mp->m_ddev_targp;

	/* An empty realtime device has no groups: its blocks are 0. */
	target->group_blocks = 0;
	if (xfs_rust_has_rmap(mp, dev))
		target->group_blocks = g->blocks;
	target->group_first = g->start_fsb;
	target->group_stride =
		g->has_daddr_gaps ? 1ULL << g->blklog : g->blocks;
	target->block_shift = mp->m_sb.sb_blocklog;
	return target->dax_dev;
}

bool
xfs_rust_is_shutdown(
	struct xfs_mount		*mp)
{
	return xfs_is_shutdown(mp);
}

bool
xfs_rust_is_writable(
	struct xfs_mount		*mp)
{
	return !xfs_is_readonly(mp) && !xfs_is_shutdown(mp);
}

/*
 * m_dax_bad is set while a device of the mount may have bad pages.  While it is
 * clear, freed blocks are not looked at.  Only the worker changes it, under the
 * lock of its queue.
 */
void
xfs_rust_set_bad(
	struct xfs_mount		*mp,
	bool				bad)
{
	WRITE_ONCE(mp->m_dax_bad, bad);
}

bool
xfs_rust_is_bad(
	struct xfs_mount		*mp)
{
	return READ_ONCE(mp->m_dax_bad);
}

/*
 * The console may be slow: the caller must not hold a lock that a transaction or
 * a page fault waits for.
 */
void
xfs_rust_message(
	struct xfs_mount		*mp,
	enum xfs_rust_level		level,
	const char			*text)
{
	if (!__ratelimit(&mp->m_dax_ratelimit))
		return;

	switch (level) {
	case XFS_RUST_ALERT:
		xfs_alert(mp, "%s", text);
		break;
	case XFS_RUST_WARN:
		xfs_warn(mp, "%s", text);
		break;
	case XFS_RUST_INFO:
		xfs_info(mp, "%s", text);
		break;
	}
}

static const enum xfs_device xfs_rust_fdev[] = {
	[XFS_RUST_DATA]		= XFS_DEV_DATA,
	[XFS_RUST_LOG]		= XFS_DEV_LOG,
	[XFS_RUST_RT]		= XFS_DEV_RT,
};

void
xfs_rust_report_media(
	struct xfs_mount		*mp,
	enum xfs_rust_device		dev,
	u64				sector,
	u64				sectors)
{
	xfs_healthmon_report_media(mp, xfs_rust_fdev[dev], sector, sectors);
}

void
xfs_rust_report_cleared(
	struct xfs_mount		*mp,
	enum xfs_rust_device		dev,
	u64				sector,
	u64				sectors)
{
/* A later patch adds the event. */
#ifdef XFS_HEALTH_MONITOR_TYPE_MEDIA_CLEARED
	xfs_healthmon_report_media_cleared(mp, xfs_rust_fdev[dev], sector,
			sectors);
#endif
}

/* Write the log, so that blocks that were freed before are no longer busy. */
void
xfs_rust_force_log(
	struct xfs_mount		*mp)
{
	xfs_log_force(mp, XFS_LOG_SYNC);
}

/*
 * Free the unused CoW staging extents of files that are clean and not locked.
 * Flushing inodes takes s_umount, and inodes are locked: the caller must hold
 * neither.
 */
void
xfs_rust_cancel_staging(
	struct xfs_mount		*mp)
{
	struct xfs_icwalk		icw = {
		.icw_flags		= XFS_ICWALK_FLAG_CLEAN,
	};

	xfs_flush_inodes(mp);
	xfs_blockgc_free_space(mp, &icw);
}

/*
 * XFS's message of a shutdown names the function that called it: this must stay
 * on the stack.
 */
noinline void
xfs_dax_device_removed(
	struct xfs_mount		*mp,
	bool				can_write)
{
	xfs_force_shutdown(mp, SHUTDOWN_FORCE_UMOUNT |
			(can_write ? 0 : SHUTDOWN_LOG_IO_ERROR));
	prevent_tail_call_optimization();
}

/*
 * Find the first of these sectors that the device lists as bad, and how many
 * follow.  A full list may lack bad sectors.
 *
 * The list belongs to the driver, which frees it when it is unbound: the caller
 * is in a section of dax_read_lock() in which the DAX device was alive.
 */
bool
xfs_rust_find_bad(
	struct xfs_mount		*mp,
	enum xfs_rust_device		dev,
	u64				*sector,
	u64				*sectors)
{
	struct block_device		*bdev =
		xfs_rust_buftarg(mp, dev)->bt_bdev;
	struct badblocks		*bb = bdev->bd_disk->bb;
	u64				start = *sector + get_start_sect(bdev);
	u64				end = start + *sectors;
	sector_t			first, num;

	if (!bb || badblocks_check(bb, start, *sectors, &first, &num) == 0)
		return false;
	start = max(start, first);
	end = min(end, first + num);
	if (start >= end)
		return false;
	*sector = start - get_start_sect(bdev);
	*sectors = end - start;
	return true;
}

/*
 * Write zeroes, for which the driver clears errors.  Return -EIO if it can't,
 * -ENODEV if the mount has no such device.
 */
int
xfs_rust_zero(
	struct xfs_mount		*mp,
	enum xfs_rust_device		dev,
	u64				sector,
	u64				sectors)
{
	struct xfs_buftarg		*btp = xfs_rust_buftarg(mp, dev);

	if (!btp)
		return -ENODEV;
	return blkdev_issue_zeroout(btp->bt_bdev, sector, sectors, GFP_NOFS, 0);
}

/* Wait until all writes have reached the media. */
int
xfs_rust_flush(
	struct xfs_mount		*mp,
	enum xfs_rust_device		dev)
{
	struct xfs_buftarg		*btp = xfs_rust_buftarg(mp, dev);

	return btp ? blkdev_issue_flush(btp->bt_bdev) : -ENODEV;
}
