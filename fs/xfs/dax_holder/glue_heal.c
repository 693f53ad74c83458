// SPDX-License-Identifier: GPL-2.0
/*
 * Metadata whose memory failed, and that XFS has elsewhere, for the DAX holder:
 * xfs/heal.rs.
 */
#include "xfs_platform.h"
#include "xfs_shared.h"
#include "xfs_format.h"
#include "xfs_log_format.h"
#include "xfs_trans_resv.h"
#include "xfs_bit.h"
#include "xfs_mount.h"
#include "xfs_trans.h"
#include "xfs_buf_item.h"
#include "xfs_log.h"
#include "xfs_log_priv.h"
#include "xfs_sb.h"
#include "xfs_trans_priv.h"
#include "xfs_ag.h"
#include "dax_holder/glue.h"
#include "dax_holder/glue_priv.h"

#include <linux/blkdev.h>
#include <linux/sched/mm.h>

/*
 * Write sectors, for which the driver clears errors, and read them back.  An
 * error does not shut the filesystem down: the metadata is as bad as before.
 */
static int
xfs_rust_write_sectors(
	struct xfs_buftarg		*btp,
	xfs_daddr_t			daddr,
	const void			*data,
	u64				sectors)
{
	size_t				len = BBTOB(sectors);
	void				*copy;
	int				error;

	/* @data may be in vmalloc space. */
	copy = kmemdup(data, len, GFP_KERNEL);
	if (!copy)
		return -ENOMEM;
	error = bdev_rw_virt(btp->bt_bdev, daddr, copy, len, REQ_OP_WRITE);
	if (!error)
		error = bdev_rw_virt(btp->bt_bdev, daddr, copy, len,
				REQ_OP_READ);
	if (!error && memcmp(copy, data, len))
		error = -EIO;
	kfree(copy);
	return error;
}

/* Check a copy of a buffer as if it had been read. */
static bool
xfs_rust_buf_is_valid(
	struct xfs_buf			*bp)
{
	struct xfs_buf			*copy;
	bool				valid;

	if (xfs_buf_get_uncached(bp->b_target, bp->b_length, &copy))
		return false;
	copy->b_maps[0].bm_bn = xfs_buf_daddr(bp);
	copy->b_ops = bp->b_ops;
	/* Verifiers look at it.  The copy puts it when it is freed. */
	if (bp->b_pag)
		copy->b_pag = xfs_perag_hold(bp->b_pag);
	memcpy(copy->b_addr, bp->b_addr, BBTOB(bp->b_length));
	copy->b_ops->verify_read(copy);
	valid = !copy->b_error;
	xfs_buf_relse(copy);
	return valid;
}

/* Does a locked buffer have changes that the device has not? */
static bool
xfs_rust_buf_is_dirty(
	struct xfs_buf			*bp)
{
	struct xfs_buf_log_item		*bip = bp->b_log_item;

	if (xfs_buf_ispinned(bp) ||
	    (bp->b_flags & (_XBF_DELWRI_Q | XBF_WRITE_FAIL)))
		return true;
	return bip && ((bip->bli_flags & (XFS_BLI_DIRTY | XFS_BLI_ORDERED)) ||
		       test_bit(XFS_LI_IN_AIL, &bip->bli_item.li_flags));
}

/* Write the sectors from @sector on that a valid and locked buffer covers. */
static int
xfs_rust_write_buf(
	struct xfs_buf			*bp,
	u64				sector,
	u64				*sectors)
{
	int				offset = xfs_buf_offset_of(bp, sector,
							sectors);

	if (!xfs_rust_buf_is_valid(bp))
		return -ENODATA;
	return xfs_rust_write_sectors(bp->b_target, sector,
			xfs_buf_offset(bp, BBTOB(offset)), *sectors);
}

/*
 * Return the buffer that covers a sector and is up to date, locked, or NULL.
 *
 * Do not wait for the lock: readdir holds that of a directory block while it
 * faults in user memory, and the fault waits for a thaw.  A freeze waits for the
 * caller.  Return -EAGAIN instead.
 */
static struct xfs_buf *
xfs_rust_get_buf(
	struct xfs_mount		*mp,
	enum xfs_rust_device		dev,
	u64				sector)
{
	/* The cache has no superblocks. */
	struct xfs_buf			*bp = dev == XFS_RUST_RT ?
						mp->m_rtsb_bp : mp->m_sb_bp;
	u64				len = 1;
	int				tries = 0;

	if (bp && xfs_buf_offset_of(bp, sector, &len) >= 0)
		xfs_buf_hold(bp);
	else
		bp = xfs_buf_find_covering(xfs_rust_buftarg(mp, dev), sector);
	if (!bp)
		return NULL;
	while (!xfs_buf_trylock(bp)) {
		if (++tries > 10) {
			xfs_buf_rele(bp);
			return ERR_PTR(-EAGAIN);
		}
		delay(1);
	}
	if ((bp->b_flags & (XBF_DONE | XBF_STALE)) == XBF_DONE && bp->b_ops)
		return bp;
	xfs_buf_relse(bp);
	return NULL;
}

/* Write sectors of a secondary superblock, unless growfs or its like does. */
static int
xfs_rust_write_secondary(
	struct xfs_mount		*mp,
	u64				daddr,
	u64				sector,
	u64				*sectors)
{
	struct xfs_dsb			*dsb;
	struct xfs_buf			*bp;
	int				error;

	if (!mutex_trylock(&mp->m_growlock))
		return -EAGAIN;
	error = xfs_buf_get_uncached(mp->m_ddev_targp, XFS_FSS_TO_BB(mp, 1),
			&bp);
	if (error)
		goto out;
	bp->b_maps[0].bm_bn = daddr;
	bp->b_ops = &xfs_sb_buf_ops;
	dsb = bp->b_addr;
	xfs_sb_to_disk(dsb, &mp->m_sb);
	if (xfs_has_crc(mp)) {
		/* These have no meaning in a secondary superblock. */
		dsb->sb_features_incompat &=
			~cpu_to_be32(XFS_SB_FEAT_INCOMPAT_NEEDSREPAIR);
		dsb->sb_features_log_incompat = 0;
		xfs_buf_update_cksum(bp, XFS_SB_CRC_OFF);
	}
	error = xfs_rust_write_buf(bp, sector, sectors);
	xfs_buf_relse(bp);
out:
	mutex_unlock(&mp->m_growlock);
	return error;
}

/* The number of blocks at the start of each AG that its headers have. */
u32
xfs_rust_header_blocks(
	struct xfs_mount		*mp)
{
	return XFS_AGFL_BLOCK(mp) + 1;
}

/*
 * Write sectors of the headers of an AG that the cache does not have.  A record
 * that says they are headers may be corrupt.
 */
static int
xfs_rust_write_headers(
	struct xfs_mount		*mp,
	u64				sector,
	u64				*sectors)
{
	u64				each = XFS_FSS_TO_BB(mp, 1);
	u64				start = XFS_AG_DADDR(mp,
					xfs_daddr_to_agno(mp, sector), 0);
	u64				offset = sector - start;

	*sectors = min(*sectors, each - offset % each);
	if (offset >= XFS_FSB_TO_BB(mp, xfs_rust_header_blocks(mp)))
		return -ENODATA;
	if (offset < each && start != XFS_SB_DADDR)
		return xfs_rust_write_secondary(mp, start, sector, sectors);
	/* Behind the AGFL, the block is not used. */
	if (offset >= XFS_AGFL_DADDR(mp) + each)
		return xfs_rust_zero(mp, XFS_RUST_DATA, sector, *sectors);
	return -ENODATA;
}

/* The superblock of the realtime device is in an rt extent that has no more. */
static int
xfs_rust_write_rt_headers(
	struct xfs_mount		*mp,
	u64				sector,
	u64				sectors)
{
	u64				end = mp->m_sb.sb_rtstart +
					      mp->m_sb.sb_rextsize;
	u64				len = 1;

	if (!mp->m_rtsb_bp || sector + sectors > XFS_FSB_TO_BB(mp, end) ||
	    xfs_buf_offset_of(mp->m_rtsb_bp, sector, &len) >= 0)
		return -ENODATA;
	return xfs_rust_zero(mp, XFS_RUST_RT, sector, sectors);
}

/*
 * Write metadata anew from a buffer in memory.  @headers: the sectors are those
 * of the headers of a group.
 *
 * The caller holds no lock.  The metadata may have changed since the caller
 * looked: a buffer that is locked, clean and not stale has what the device should
 * have, whatever that is.
 *
 * Cut @sectors to those that the result is about.  Return -ENODATA if the
 * metadata is not in memory, -EAGAIN if it is in use, or dirty: the write back,
 * which is started, clears the error.
 */
int
xfs_rust_heal(
	struct xfs_mount		*mp,
	enum xfs_rust_device		dev,
	bool				headers,
	u64				sector,
	u64				*sectors)
{
	unsigned int			nofs = memalloc_nofs_save();
	struct xfs_buf			*bp;
	bool				dirty = false;
	int				error = -ENODATA;

	bp = xfs_rust_get_buf(mp, dev, sector);
	if (IS_ERR(bp)) {
		error = PTR_ERR(bp);
	} else if (bp) {
		dirty = xfs_rust_buf_is_dirty(bp);
		/* A shutdown leaves changes that are not dirty any more. */
		if (xlog_is_shutdown(mp->m_log))
			error = -EIO;
		else if (dirty)
			error = -EAGAIN;
		else
			error = xfs_rust_write_buf(bp, sector, sectors);
		xfs_buf_relse(bp);
	} else if (headers && dev == XFS_RUST_DATA) {
		error = xfs_rust_write_headers(mp, sector, sectors);
	} else if (headers) {
		error = xfs_rust_write_rt_headers(mp, sector, *sectors);
	}

	if (dirty) {
		xfs_log_force(mp, XFS_LOG_SYNC);
		xfs_ail_push_all(mp->m_ail);
	}
	memalloc_nofs_restore(nofs);
	return error;
}

/*
 * Are sectors of the log outside of the records from @tail to the head?  If they
 * are, the log was there last in cycle @cycle.
 */
static bool
xlog_is_stale(
	struct xlog			*log,
	xfs_lsn_t			tail,
	u64				first,
	u64				sectors,
	u32				*cycle)
{
	u64				end = first + sectors;
	u64				head;
	u32				prev;

	spin_lock(&log->l_icloglock);
	*cycle = log->l_curr_cycle;
	head = log->l_curr_block;
	spin_unlock(&log->l_icloglock);
	/* The number that looks like a record's magic is left out. */
	prev = *cycle - 1;
	if (prev == XLOG_HEADER_MAGIC_NUM)
		prev--;

	if (CYCLE_LSN(tail) == *cycle) {
		if (first < head && end > BLOCK_LSN(tail))
			return false;
	} else if (CYCLE_LSN(tail) != prev || head > BLOCK_LSN(tail)) {
		/* The head has passed it: the tail is elsewhere by now. */
		return false;
	} else if (first < head || end > BLOCK_LSN(tail)) {
		return false;
	}
	if (first >= head)
		*cycle = prev;
	return true;
}

/*
 * Write sectors of the log anew that recovery does not need.
 *
 * Recovery finds the head of the log by the cycle number at the start of each
 * sector.  Apart from it, the sectors have nothing but zeroes: no old record is
 * ever taken for a new one.
 *
 * Return -EAGAIN if recovery needs the sectors.  The tail is being pushed.
 */
int
xfs_rust_heal_log(
	struct xfs_mount		*mp,
	enum xfs_rust_device		dev,
	u64				sector,
	u64				sectors)
{
	struct xlog			*log = mp->m_log;
	struct xlog_in_core		*iclog;
	xfs_lsn_t			tail = atomic64_read(&log->l_tail_lsn);
	u64				start = 0;
	u64				end = XFS_FSB_TO_BB(mp,
						mp->m_sb.sb_logblocks);
	unsigned int			noio;
	__be32				*data;
	u32				cycle;
	int				error, i;

	if (dev == XFS_RUST_DATA) {
		start = XFS_FSB_TO_DADDR(mp, mp->m_sb.sb_logstart);
		end += start;
	}
	/* The record that names the sectors may be corrupt. */
	if (xfs_rust_buftarg(mp, dev) != log->l_targ ||
	    sector < start || sector + sectors > end)
		return -EFSCORRUPTED;

	/*
	 * Have a record with this tail, or a later one, on the device.  An iclog
	 * that has a commit record already may have an older one: so write it,
	 * and then the next one.
	 */
	error = xfs_log_force(mp, XFS_LOG_SYNC);
	if (!error)
		error = xfs_sync_sb(mp, true);
	if (error)
		return error;

	/* Log I/O is held up: reclaim must not wait for I/O that waits for it. */
	noio = memalloc_noio_save();
	data = kzalloc(BBTOB(sectors), GFP_KERNEL);
	if (!data) {
		error = -ENOMEM;
		goto out;
	}
	/* Nothing is written to the log while all ic_semas are held. */
	iclog = log->l_iclog;
	for (i = 0; i < log->l_iclog_bufs; i++, iclog = iclog->ic_next)
		down(&iclog->ic_sema);

	if (xlog_is_stale(log, tail, sector - start, sectors, &cycle)) {
		for (i = 0; i < sectors; i++)
			data[i * (BBSIZE / sizeof(*data))] = cpu_to_be32(cycle);
		error = xfs_rust_write_sectors(log->l_targ, sector, data,
				sectors);
	} else {
		error = -EAGAIN;
	}

	for (i = 0; i < log->l_iclog_bufs; i++, iclog = iclog->ic_next)
		up(&iclog->ic_sema);
	kfree(data);
out:
	memalloc_noio_restore(noio);
	if (error == -EAGAIN)
		xfs_ail_push_all(mp->m_ail);
	return error;
}
