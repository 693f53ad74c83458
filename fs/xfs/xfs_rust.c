// SPDX-License-Identifier: GPL-2.0
/*
 * XFS for its Rust code: what bindgen can't give, because it is a macro or an
 * inline, or would give with all of XFS's headers. Nothing is decided here.
 */

#include "xfs_platform.h"
#include "xfs_shared.h"
#include "xfs_format.h"
#include "xfs_log_format.h"
#include "xfs_trans_resv.h"
#include "xfs_mount.h"
#include "xfs_alloc.h"
#include "xfs_alloc_btree.h"
#include "xfs_btree.h"
#include "xfs_inode.h"
#include "xfs_bmap.h"
#include "xfs_bmap_util.h"
#include "xfs_icache.h"
#include "xfs_rmap.h"
#include "xfs_rmap_btree.h"
#include "xfs_trans.h"
#include "xfs_ag.h"
#include "xfs_extent_busy.h"
#include "xfs_log.h"
#include "xfs_log_priv.h"
#include "xfs_rtbitmap.h"
#include "xfs_rtgroup.h"
#include "xfs_rtrmap_btree.h"
#include "xfs_super.h"
#include "xfs_health.h"
#include "xfs_healthmon.h"
#include "xfs_trace.h"
#include "xfs_rust.h"

#include <linux/badblocks.h>
#include <linux/dax.h>
#include <linux/fserror.h>
#include <linux/mm.h>
#include <linux/ratelimit.h>

/* Messages in five seconds, for each mount. */
#define XFS_RUST_BURST		50

void xfs_rust_init(struct xfs_mount *mp)
{
	ratelimit_state_init(&mp->m_dax_ratelimit, DEFAULT_RATELIMIT_INTERVAL,
			     XFS_RUST_BURST);
}

/* Must not be called with a lock held that a transaction or a fault waits for. */
void xfs_rust_message(struct xfs_mount *mp, enum xfs_rust_level level,
		      const char *text)
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

/*
 * Whether bad pages are known on a device of the mount: while there is none,
 * what is freed is of no interest. The worker changes it, with its queue locked.
 */
void xfs_rust_set_bad(struct xfs_mount *mp, bool bad)
{
	WRITE_ONCE(mp->m_dax_bad, bad);
}

bool xfs_rust_is_bad(struct xfs_mount *mp)
{
	return READ_ONCE(mp->m_dax_bad);
}

/* Whether a device of the mount does DAX. */
bool xfs_rust_has_dax(struct xfs_mount *mp)
{
	return mp->m_ddev_targp->bt_daxdev ||
	       (mp->m_logdev_targp && mp->m_logdev_targp->bt_daxdev) ||
	       (mp->m_rtdev_targp && mp->m_rtdev_targp->bt_daxdev);
}

struct super_block *xfs_rust_super(struct xfs_mount *mp)
{
	return mp->m_super;
}

static struct xfs_buftarg *xfs_rust_buftarg(struct xfs_mount *mp,
					    enum xfs_rust_device dev)
{
	if (dev == XFS_RUST_LOG)
		return mp->m_logdev_targp;
	if (dev == XFS_RUST_RT)
		return mp->m_rtdev_targp;
	return mp->m_ddev_targp;
}

/*
 * False if the mount has no such device, or none that does DAX. An internal log
 * is part of the data device, whose blocks tell what they are; an internal
 * realtime section has groups of its own, behind those of the data section.
 *
 * Sizes change with a growfs, so this is to be asked each time.
 */
bool xfs_rust_get_target(struct xfs_mount *mp, enum xfs_rust_device dev,
			 struct xfs_rust_target *target)
{
	struct xfs_buftarg	*btp = xfs_rust_buftarg(mp, dev);
	u64			first = 0, blocks;

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
	target->offset = btp->bt_dax_part_off;
	target->first = XFS_FSB_TO_BB(mp, first);
	target->end = XFS_FSB_TO_BB(mp, first + blocks);
	target->section = dev == XFS_RUST_RT && btp == mp->m_ddev_targp;
	return target->dax_dev;
}

static inline enum xfs_group_type xfs_rust_group_type(enum xfs_rust_device dev)
{
	return dev == XFS_RUST_RT ? XG_TYPE_RTG : XG_TYPE_AG;
}

static bool xfs_rust_has_rmap(struct xfs_mount *mp, enum xfs_rust_device dev)
{
	return dev == XFS_RUST_RT ? xfs_has_rtrmapbt(mp) : xfs_has_rmapbt(mp);
}

/* -EOPNOTSUPP: the device's blocks have no reverse mapping. */
int xfs_rust_get_geometry(struct xfs_mount *mp, enum xfs_rust_device dev,
			  struct xfs_rust_geometry *geo)
{
	struct xfs_groups		*g;

	if (!xfs_rust_has_rmap(mp, dev))
		return -EOPNOTSUPP;

	g = &mp->m_groups[xfs_rust_group_type(dev)];
	/* A realtime device that is still empty has no groups. */
	if (!g->blocks)
		return -EOPNOTSUPP;
	geo->first = g->start_fsb;
	geo->blocks = g->blocks;
	geo->stride = g->has_daddr_gaps ? 1ULL << g->blklog : g->blocks;
	geo->block_shift = mp->m_sb.sb_blocklog;
	return 0;
}

struct xfs_rust_query {
	xfs_rust_rmap_fn	fn;
	void			*data;
};

static int xfs_rust_query_fn(struct xfs_btree_cur *cur,
			     const struct xfs_rmap_irec *rec, void *data)
{
	struct xfs_rust_query		*query = data;
	struct xfs_rust_rmap		rmap = {
		.owner			= rec->rm_owner,
		.offset			= rec->rm_offset,
		.start			= rec->rm_startblock,
		.count			= rec->rm_blockcount,
		.attr_fork		= rec->rm_flags & XFS_RMAP_ATTR_FORK,
		.bmbt_block		= rec->rm_flags & XFS_RMAP_BMBT_BLOCK,
		.unwritten		= rec->rm_flags & XFS_RMAP_UNWRITTEN,
	};

	return query->fn(&rmap, query->data);
}

static inline unsigned int xfs_rust_rtlocks(bool write)
{
	return XFS_RTGLOCK_RMAP | (write ? XFS_RTGLOCK_BITMAP : 0);
}

static void xfs_rust_put_group(struct xfs_rust_group *group)
{
	struct super_block	*sb = group->xg->xg_mount->m_super;

	xfs_trans_cancel(group->tp);
	xfs_group_rele(group->xg);
	if (group->write)
		sb_end_intwrite(sb);
}

/*
 * Lock the AGF buffer, or the rmap inode of a realtime group: nobody changes who
 * owns its blocks. With @write, nobody allocates or frees them either, and the
 * filesystem is not frozen. -ENOENT if there is no group of that number,
 * -EOPNOTSUPP if it has no reverse mapping.
 *
 * Lock order: sb_start_intwrite() is outermost, as for a transaction; then, for
 * a realtime group, its bitmap, summary and rmap inodes. Who waits for these
 * locks may hold an inode, or the lock of a DAX entry.
 */
int xfs_rust_lock_group(struct xfs_mount *mp, enum xfs_rust_device dev, u32 gno,
			bool write, struct xfs_rust_group *group)
{
	struct xfs_group	*xg;
	int			error = 0;

	if (!xfs_rust_has_rmap(mp, dev))
		return -EOPNOTSUPP;
	xg = xfs_group_grab(mp, gno, xfs_rust_group_type(dev));
	if (!xg)
		return -ENOENT;
	group->xg = xg;
	/* From here on memory is allocated as in any transaction, GFP_NOFS. */
	group->tp = xfs_trans_alloc_empty(mp);
	if (write)
		sb_start_intwrite(mp->m_super);
	group->agf_bp = NULL;
	group->blocks = xg->xg_block_count;
	group->write = write;

	if (dev == XFS_RUST_RT)
		xfs_rtgroup_lock(to_rtg(xg), xfs_rust_rtlocks(write));
	else
		error = xfs_alloc_read_agf(to_perag(xg), group->tp, 0,
					   &group->agf_bp);
	if (error)
		xfs_rust_put_group(group);
	return error;
}

void xfs_rust_unlock_group(struct xfs_rust_group *group)
{
	if (group->agf_bp)
		xfs_trans_brelse(group->tp, group->agf_bp);
	else
		xfs_rtgroup_unlock(to_rtg(group->xg),
				   xfs_rust_rtlocks(group->write));
	xfs_rust_put_group(group);
}

/*
 * Call @fn for each record that covers a block of @first..@last (inclusive) of
 * the group, in the order of the btree. Returns what @fn returned last,
 * -ECANCELED included, or why the btree could not be read.
 */
int xfs_rust_query_rmap(const struct xfs_rust_group *group, u32 first, u32 last,
			xfs_rust_rmap_fn fn, void *data)
{
	struct xfs_rust_query	query = { .fn = fn, .data = data };
	struct xfs_rmap_irec	low = { .rm_startblock = first };
	struct xfs_rmap_irec	high;
	struct xfs_btree_cur	*cur;
	int			error;

	memset(&high, 0xFF, sizeof(high));
	high.rm_startblock = last;

	if (group->agf_bp)
		cur = xfs_rmapbt_init_cursor(group->xg->xg_mount, group->tp,
					     group->agf_bp,
					     to_perag(group->xg));
	else
		cur = xfs_rtrmapbt_init_cursor(group->tp, to_rtg(group->xg));
	error = xfs_rmap_query_range(cur, &low, &high, xfs_rust_query_fn,
				     &query);
	xfs_btree_del_cursor(cur, error);
	return error;
}

static int xfs_rust_is_free_in_ag(const struct xfs_rust_group *group, u32 first,
				  u32 count)
{
	enum xbtree_recpacking	outcome;
	struct xfs_btree_cur	*cur;
	int			error;

	cur = xfs_bnobt_init_cursor(group->xg->xg_mount, group->tp,
				    group->agf_bp, to_perag(group->xg));
	error = xfs_alloc_has_records(cur, first, count, &outcome);
	xfs_btree_del_cursor(cur, error);
	return error ?: outcome == XBTREE_RECPACKING_FULL;
}

static int xfs_rust_is_free_in_rtg(const struct xfs_rust_group *group,
				   u32 first, u32 count)
{
	struct xfs_mount	*mp = group->xg->xg_mount;
	xfs_rtxnum_t		start = xfs_rgbno_to_rtx(mp, first);
	xfs_rtxnum_t		end = xfs_rgbno_to_rtx(mp, first + count - 1);
	bool			is_free;
	int			error;

	error = xfs_rtalloc_extent_is_free(to_rtg(group->xg), group->tp, start,
					   end - start + 1, &is_free);
	return error ?: is_free;
}

/*
 * 1 if blocks of a group that is locked to write are all free, on disk as well:
 * no block of them is to come back to its file after a crash. 0 if one is not.
 * -EOPNOTSUPP for a zone, which is not freed block by block.
 */
int xfs_rust_is_free(const struct xfs_rust_group *group, u32 first, u32 count)
{
	struct xfs_group	*xg = group->xg;
	int			ret;

	if (!xfs_group_has_extent_busy(xg->xg_mount, xg->xg_type))
		return -EOPNOTSUPP;
	if (xfs_extent_busy_search(xg, first, count))
		return 0;
	ret = group->agf_bp ? xfs_rust_is_free_in_ag(group, first, count) :
			      xfs_rust_is_free_in_rtg(group, first, count);
	/* A log that can't be written drops what was busy, too. */
	return xlog_is_shutdown(xg->xg_mount->m_log) ? 0 : ret;
}

/*
 * The first of these sectors, and how many follow, that the device lists as bad.
 * The list may have had no room for one. It belongs to the driver, which may be
 * unbound: the caller has seen the DAX device alive since dax_read_lock().
 */
bool xfs_rust_find_bad(struct xfs_mount *mp, enum xfs_rust_device dev,
		       u64 *sector, u64 *sectors)
{
	struct block_device	*bdev = xfs_rust_buftarg(mp, dev)->bt_bdev;
	struct badblocks	*bb = bdev->bd_disk->bb;
	u64			start = *sector + get_start_sect(bdev);
	u64			end = start + *sectors;
	sector_t		first, num;

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
 * Write zeroes, for which a driver clears errors. -EIO if it can't, -ENODEV if the
 * mount has no such device.
 */
int xfs_rust_zero(struct xfs_mount *mp, enum xfs_rust_device dev, u64 sector,
		  u64 sectors)
{
	struct xfs_buftarg	*btp = xfs_rust_buftarg(mp, dev);

	if (!btp)
		return -ENODEV;
	return blkdev_issue_zeroout(btp->bt_bdev, sector, sectors, GFP_NOFS, 0);
}

/* Have what was written reach the device's media. */
int xfs_rust_flush(struct xfs_mount *mp, enum xfs_rust_device dev)
{
	struct xfs_buftarg	*btp = xfs_rust_buftarg(mp, dev);

	return btp ? blkdev_issue_flush(btp->bt_bdev) : -ENODEV;
}

/* Afterwards, what was freed before is no longer busy. */
void xfs_rust_force_log(struct xfs_mount *mp)
{
	xfs_log_force(mp, XFS_LOG_SYNC);
}

/*
 * Free what copies on write have reserved and not used, in files that are clean
 * and that nobody has locked: it waits for none. Must not be called with s_umount
 * held, or a lock of an inode.
 */
void xfs_rust_cancel_staging(struct xfs_mount *mp)
{
	struct xfs_icwalk	icw = { .icw_flags = XFS_ICWALK_FLAG_CLEAN };

	xfs_flush_inodes(mp);
	xfs_blockgc_free_space(mp, &icw);
}

/*
 * Blocks of a group are no longer busy: what was freed is free on disk too. The
 * caller holds the lock of the busy extents, so nothing is looked at here but
 * whether there is anything to look for.
 */
void xfs_rust_freed(struct xfs_group *xg, u32 first, u32 count)
{
	struct xfs_mount	*mp = xg->xg_mount;
	void			*holder;

	if (likely(!READ_ONCE(mp->m_dax_bad)))
		return;
	/* Pairs with xfs_fs_fill_super(). */
	holder = smp_load_acquire(&mp->m_dax_holder);
	if (holder)
		xfs_dax_holder_freed(holder,
				     xg->xg_type == XG_TYPE_RTG ?
				     XFS_RUST_RT : XFS_RUST_DATA,
				     xg->xg_gno, first, count);
}

bool xfs_rust_is_writable(struct xfs_mount *mp)
{
	return !xfs_is_readonly(mp) && !xfs_is_shutdown(mp);
}

/* The AG of an inode, in *@pagp: as a rule it is that of the last one, too. */
static struct xfs_perag *xfs_rust_perag_of(struct xfs_mount *mp, u64 ino,
					   struct xfs_perag **pagp)
{
	xfs_agnumber_t		agno = XFS_INO_TO_AGNO(mp, ino);

	if (!*pagp || pag_agno(*pagp) != agno) {
		xfs_rust_perag_put(*pagp);
		*pagp = xfs_perag_get(mp, agno);
	}
	return *pagp;
}

/*
 * What an inode that xfs_iget() does not return now is waiting for: -ENOENT if it is
 * deleted, -EBUSY if it is being evicted, for which its DAX pages must not be pinned;
 * 0 if it is something of XFS.
 */
static int xfs_rust_leaving(struct xfs_mount *mp, u64 ino)
{
	struct xfs_perag	*pag = NULL;
	struct xfs_inode	*ip;
	int			error = 0;

	if (!xfs_rust_perag_of(mp, ino, &pag))
		return 0;
	rcu_read_lock();
	ip = radix_tree_lookup(&pag->pag_ici_root, XFS_INO_TO_AGINO(mp, ino));
	if (ip && I_INO(ip) == ino && !xfs_iflags_test(ip, XFS_INEW)) {
		if (!VFS_I(ip)->i_nlink)
			error = -ENOENT;
		else if ((inode_state_read_once(VFS_I(ip)) &
			  (I_FREEING | I_CLEAR)) == I_FREEING)
			error = -EBUSY;
	}
	rcu_read_unlock();
	xfs_rust_perag_put(pag);
	return error;
}

/*
 * An inode; with @incore only if it is in memory, as it is if a process maps it.
 * -ENODATA if it is not, -EINVAL or -ENOENT if it is no file. -EAGAIN if it is on
 * its way in or out of memory; that is waited for, unless only inodes in memory
 * are asked for, or the filesystem is frozen, for as long as which it may last.
 * It may last longer still while a page of the inode is pinned: a deleted one is
 * told at once, with -ENOENT, another one after a second, with -EBUSY.
 */
int xfs_rust_iget(struct xfs_mount *mp, u64 ino, bool incore,
		  struct inode **inodep)
{
	unsigned int		flags = XFS_IGET_INCORE;
	unsigned long		limit = jiffies + HZ;
	struct xfs_inode	*ip;
	int			error, leaving;

	if (!incore)
		flags = XFS_IGET_UNTRUSTED | XFS_IGET_DONTCACHE |
			XFS_IGET_NORETRY;
	while (true) {
		error = xfs_iget(mp, NULL, ino, flags, 0, &ip);
		if (error != -EAGAIN || incore)
			break;
		leaving = xfs_rust_leaving(mp, ino);
		if (leaving == -ENOENT ||
		    (leaving && time_after(jiffies, limit)))
			return leaving;
		if (!leaving &&
		    READ_ONCE(mp->m_super->s_writers.frozen) != SB_UNFROZEN)
			break;
		delay(1);
	}
	if (error)
		return error;
	*inodep = VFS_I(ip);
	return 0;
}

/*
 * Where on device @dev the first of @len bytes at @pos of a file are, and how many
 * follow in one piece. No lock of the file is held, nor one that is taken inside
 * of ILOCK.
 */
int xfs_rust_map(struct inode *inode, enum xfs_rust_device dev, loff_t pos,
		 u64 len, struct xfs_rust_extent *ext)
{
	struct xfs_inode	*ip = XFS_I(inode);
	struct xfs_mount	*mp = ip->i_mount;
	xfs_fileoff_t		first = XFS_B_TO_FSBT(mp, pos);
	xfs_fileoff_t		end = XFS_B_TO_FSB(mp, pos + len);
	u64			skip = pos - XFS_FSB_TO_B(mp, first);
	struct xfs_bmbt_irec	irec;
	unsigned int		lock;
	int			nimaps = 1;
	int			error;

	ext->bytes = len;
	ext->sector = U64_MAX;
	lock = xfs_ilock_data_map_shared(ip);
	/* It may be another inode than it was: a symbolic link, or a pipe. */
	if (!xfs_ifork_has_extents(&ip->i_df)) {
		xfs_iunlock(ip, lock);
		return 0;
	}
	error = xfs_bmapi_read(ip, first, end - first, &irec, &nimaps, 0);
	xfs_iunlock(ip, lock);
	if (error || !nimaps)
		return error;

	ext->bytes = min(len, XFS_FSB_TO_B(mp, irec.br_blockcount) - skip);
	if (xfs_bmap_is_written_extent(&irec) &&
	    xfs_inode_buftarg(ip) == xfs_rust_buftarg(mp, dev))
		ext->sector = xfs_fsb_to_db(ip, irec.br_startblock) +
			      (skip >> BBSHIFT);
	return 0;
}

#define XFS_RUST_DATA_LOCKS	(XFS_IOLOCK_EXCL | XFS_MMAPLOCK_EXCL)

/*
 * Keep everybody from writing to the file, and see that nothing is on its way to
 * these bytes of it. -EAGAIN if somebody has it locked, maybe for long; -ETXTBSY
 * for a swap file, which is written to without a lock, unwritten space included.
 */
int xfs_rust_lock_data(struct inode *inode, loff_t pos, u64 len)
{
	struct xfs_inode	*ip = XFS_I(inode);
	int			error = -EAGAIN;

	if (!xfs_ilock_nowait(ip, XFS_RUST_DATA_LOCKS))
		return -EAGAIN;
	if (IS_SWAPFILE(inode))
		error = -ETXTBSY;
	else if (!atomic_read(&inode->i_dio_count))
		error = filemap_write_and_wait_range(inode->i_mapping, pos,
						     pos + len - 1);
	if (error)
		xfs_rust_unlock_data(inode);
	return error;
}

void xfs_rust_unlock_data(struct inode *inode)
{
	xfs_iunlock(XFS_I(inode), XFS_RUST_DATA_LOCKS);
}

/*
 * False if the inode is not in memory or no process maps it: who maps it is what
 * keeps it in memory. Takes no reference to the inode, as there may be many to
 * ask for; *@pagp is one to its AG, for the next call or xfs_rust_perag_put().
 */
bool xfs_rust_may_be_mapped(struct xfs_mount *mp, u64 ino,
			    struct xfs_perag **pagp)
{
	struct xfs_perag	*pag = xfs_rust_perag_of(mp, ino, pagp);
	struct xfs_inode	*ip;
	bool			mapped = false;

	if (!pag)
		return false;
	rcu_read_lock();
	ip = radix_tree_lookup(&pag->pag_ici_root, XFS_INO_TO_AGINO(mp, ino));
	if (ip && I_INO(ip) == ino)
		mapped = mapping_mapped(VFS_I(ip)->i_mapping);
	rcu_read_unlock();
	return mapped;
}

/* Pages that are looked at in one RCU section. */
#define XFS_RUST_PAGES		512

/*
 * Whether the page cache has the data of an inode at @pos up to date, so that
 * what is on the device is not needed. *@len is cut to the bytes for which the
 * answer is the same. Takes no reference to the inode, as may_be_mapped().
 */
bool xfs_rust_is_cached(struct xfs_mount *mp, u64 ino, u64 pos, u64 *len,
			struct xfs_perag **pagp)
{
	struct xfs_perag	*pag = xfs_rust_perag_of(mp, ino, pagp);
	struct address_space	*mapping;
	struct xfs_inode	*ip;
	u64			end = pos + *len;
	u64			to = pos;
	bool			cached = false;

	if (!pag)
		return false;
	rcu_read_lock();
	ip = radix_tree_lookup(&pag->pag_ici_root, XFS_INO_TO_AGINO(mp, ino));
	if (!ip || I_INO(ip) != ino)
		goto out;
	mapping = VFS_I(ip)->i_mapping;
	/* What DAX knows of a file is no copy. */
	if (dax_mapping(mapping) || mapping_empty(mapping))
		goto out;

	while (to < end) {
		struct folio	*folio = filemap_get_folio(mapping,
							   to >> PAGE_SHIFT);
		bool		uptodate = false;

		if (!IS_ERR(folio)) {
			uptodate = folio_test_uptodate(folio);
			folio_put(folio);
		}
		if (to == pos)
			cached = uptodate;
		else if (uptodate != cached ||
			 to - pos >= (u64)XFS_RUST_PAGES << PAGE_SHIFT)
			break;
		to = round_down(to, PAGE_SIZE) + PAGE_SIZE;
	}
	*len = min(to, end) - pos;
out:
	rcu_read_unlock();
	return cached;
}

void xfs_rust_perag_put(struct xfs_perag *pag)
{
	if (pag)
		xfs_perag_put(pag);
}

/*
 * Called in notifications, for which memory_failure() waits, and by the worker, for
 * which a freeze waits. Neither waits for pinned pages of a file.
 */
void xfs_rust_irele(struct inode *inode)
{
	xfs_irele_async(XFS_I(inode));
}

/* NULL if the inode is not accessed by DAX: then what is mapped is a copy. */
struct address_space *xfs_rust_dax_mapping(struct inode *inode)
{
	return dax_mapping(inode->i_mapping) ? inode->i_mapping : NULL;
}

/*
 * The next inode, after @prev or from the first one on, whose data is accessed by
 * DAX and that processes map. Takes over the reference to @prev, which keeps our
 * place in the list. Inodes that come into memory meanwhile are not seen.
 *
 * Lock order: i_lock (igrab) is taken under s_inode_list_lock; @prev is put with
 * neither, and not evicted here.
 */
struct inode *xfs_rust_next_mapped(struct xfs_mount *mp, struct inode *prev)
{
	struct super_block	*sb = mp->m_super;
	struct inode		*inode, *next = NULL;

	spin_lock(&sb->s_inode_list_lock);
	inode = list_prepare_entry(prev, &sb->s_inodes, i_sb_list);
	list_for_each_entry_continue(inode, &sb->s_inodes, i_sb_list) {
		if (IS_DAX(inode) && mapping_mapped(inode->i_mapping) &&
		    igrab(inode)) {
			next = inode;
			break;
		}
	}
	spin_unlock(&sb->s_inode_list_lock);
	if (prev)
		xfs_irele_async(XFS_I(prev));
	cond_resched();
	return next;
}

u64 xfs_rust_ino(struct inode *inode)
{
	return I_INO(XFS_I(inode));
}

/*
 * Let no process and no inode refer to DAX memory any more, for a filesystem
 * that is shut down and whose memory goes, the struct pages with it. A fault
 * that passed the check for the shutdown before it is waited for, as it holds
 * the invalidate lock; so the caller must not keep the filesystem frozen.
 *
 * Lock order: invalidate_lock, then i_mmap_rwsem (unmap) or i_pages (delete),
 * as for a truncation. s_inode_list_lock and i_lock are dropped before.
 */
void xfs_rust_detach_all(struct xfs_mount *mp)
{
	struct super_block	*sb = mp->m_super;
	struct inode		*inode, *prev = NULL;

	spin_lock(&sb->s_inode_list_lock);
	list_for_each_entry(inode, &sb->s_inodes, i_sb_list) {
		if (!IS_DAX(inode) || !igrab(inode))
			continue;
		spin_unlock(&sb->s_inode_list_lock);

		filemap_invalidate_lock(inode->i_mapping);
		unmap_mapping_range(inode->i_mapping, 0, 0, 0);
		dax_delete_mapping_range(inode->i_mapping, 0, LLONG_MAX);
		filemap_invalidate_unlock(inode->i_mapping);

		/* Keeps our place in the list until the next one is found. */
		iput(prev);
		prev = inode;
		cond_resched();
		spin_lock(&sb->s_inode_list_lock);
	}
	spin_unlock(&sb->s_inode_list_lock);
	iput(prev);
}

void xfs_rust_report_lost(struct inode *inode, loff_t pos, u64 len)
{
	fserror_report_data_lost(inode, pos, len, GFP_NOFS);
}

static const enum xfs_device xfs_rust_fdev[] = {
	[XFS_RUST_DATA]	= XFS_DEV_DATA,
	[XFS_RUST_LOG]	= XFS_DEV_LOG,
	[XFS_RUST_RT]	= XFS_DEV_RT,
};

void xfs_rust_report_media(struct xfs_mount *mp, enum xfs_rust_device dev,
			   u64 sector, u64 sectors)
{
	xfs_healthmon_report_media(mp, xfs_rust_fdev[dev], sector, sectors);
}

void xfs_rust_report_cleared(struct xfs_mount *mp, enum xfs_rust_device dev,
			     u64 sector, u64 sectors)
{
/* Only if the monitor has such an event. */
#ifdef XFS_HEALTH_MONITOR_TYPE_MEDIA_CLEARED
	xfs_healthmon_report_media_cleared(mp, xfs_rust_fdev[dev], sector,
					   sectors);
#endif
}

void xfs_rust_trace_event(struct xfs_mount *mp, enum xfs_rust_device dev,
			  u64 offset, u64 len, u32 mf_flags)
{
	trace_xfs_dax_event(mp, xfs_rust_fdev[dev], offset, len, mf_flags);
}

void xfs_rust_trace_owner(struct xfs_mount *mp, u64 ino, u64 pos, u64 len)
{
	trace_xfs_dax_owner(mp, ino, pos, len);
}

void xfs_rust_trace_repair(struct xfs_mount *mp, enum xfs_rust_device dev,
			   u64 offset, u64 len, u32 step)
{
	trace_xfs_dax_repair(mp, xfs_rust_fdev[dev], offset, len, step);
}

static inline bool xfs_rust_hits(u64 sector, u64 sectors, xfs_daddr_t first,
				 u64 count)
{
	return sector < first + count && first < sector + sectors;
}

/* What of an AG's headers is in these sectors of it. The others are not used. */
static unsigned int xfs_rust_sick_headers(struct xfs_mount *mp, u64 sector,
					  u64 sectors)
{
	u64			each = 1ULL << mp->m_sectbb_log;
	unsigned int		mask = 0;

	if (xfs_rust_hits(sector, sectors, XFS_SB_DADDR, each))
		mask |= XFS_SICK_AG_SB;
	if (xfs_rust_hits(sector, sectors, XFS_AGF_DADDR(mp), each))
		mask |= XFS_SICK_AG_AGF;
	if (xfs_rust_hits(sector, sectors, XFS_AGI_DADDR(mp), each))
		mask |= XFS_SICK_AG_AGI;
	if (xfs_rust_hits(sector, sectors, XFS_AGFL_DADDR(mp), each))
		mask |= XFS_SICK_AG_AGFL;
	return mask;
}

/* What of a group may be damaged. For a log there is no such mark. */
static unsigned int xfs_rust_sick_group(struct xfs_mount *mp,
					enum xfs_rust_device dev, u64 owner,
					u64 sector, u64 sectors)
{
	if (dev == XFS_RUST_RT)
		return owner == XFS_RMAP_OWN_FS ? XFS_SICK_RG_SUPER : 0;

	switch (owner) {
	case XFS_RMAP_OWN_FS:
		return xfs_rust_sick_headers(mp, sector, sectors);
	case XFS_RMAP_OWN_AG:
		/* Which of these it is, or a block for them, is not known. */
		return XFS_SICK_AG_BNOBT | XFS_SICK_AG_CNTBT |
		       XFS_SICK_AG_RMAPBT;
	case XFS_RMAP_OWN_INOBT:
		return XFS_SICK_AG_INOBT | XFS_SICK_AG_FINOBT;
	case XFS_RMAP_OWN_INODES:
		return XFS_SICK_AG_INODES;
	case XFS_RMAP_OWN_REFC:
		return XFS_SICK_AG_REFCNTBT;
	default:
		return 0;
	}
}

/*
 * Metadata on the device is damaged: sectors of group @gno, counted from its
 * start, which @rec says whose they are. Online repair looks for these marks. An
 * inode is marked as XFS_IOC_VERIFY_MEDIA does it; NORETRY, as the filesystem may
 * be frozen.
 */
void xfs_rust_mark_sick(struct xfs_mount *mp, enum xfs_rust_device dev, u32 gno,
			const struct xfs_rust_rmap *rec, u64 sector,
			u64 sectors)
{
	struct xfs_inode	*ip;
	struct xfs_group	*xg;
	unsigned int		mask;

	if (!XFS_RMAP_NON_INODE_OWNER(rec->owner)) {
		if (xfs_iget(mp, NULL, rec->owner,
			     XFS_IGET_UNTRUSTED | XFS_IGET_NORETRY, 0, &ip))
			return;
		if (rec->bmbt_block)
			xfs_bmap_mark_sick(ip, rec->attr_fork ? XFS_ATTR_FORK :
								XFS_DATA_FORK);
		else
			xfs_inode_mark_sick(ip, XFS_SICK_INO_XATTR);
		xfs_irele_async(ip);
		return;
	}

	mask = xfs_rust_sick_group(mp, dev, rec->owner, sector, sectors);
	if (!mask)
		return;
	xg = xfs_group_get(mp, gno, xfs_rust_group_type(dev));
	if (!xg)
		return;
	xfs_group_mark_sick(xg, mask);
	xfs_group_put(xg);
}

bool xfs_rust_is_shutdown(struct xfs_mount *mp)
{
	return xfs_is_shutdown(mp);
}

/*
 * The message of a shutdown names the function that asked for it. These have
 * something left to do, and so are on the stack.
 */
noinline int xfs_dax_metadata_failed(struct xfs_mount *mp)
{
	xfs_force_shutdown(mp, SHUTDOWN_CORRUPT_ONDISK);
	return -EFSCORRUPTED;
}

noinline int xfs_dax_device_removed(struct xfs_mount *mp)
{
	xfs_force_shutdown(mp, SHUTDOWN_FORCE_UMOUNT);
	return 0;
}
