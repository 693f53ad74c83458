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
#include "xfs_btree.h"
#include "xfs_inode.h"
#include "xfs_icache.h"
#include "xfs_rmap.h"
#include "xfs_rmap_btree.h"
#include "xfs_trans.h"
#include "xfs_ag.h"
#include "xfs_rtgroup.h"
#include "xfs_rtrmap_btree.h"
#include "xfs_healthmon.h"
#include "xfs_rust.h"

#include <linux/dax.h>
#include <linux/fserror.h>
#include <linux/mm.h>

struct super_block *xfs_rust_super(struct xfs_mount *mp)
{
	return mp->m_super;
}

/* False if the mount has no such device, or none that does DAX. */
bool xfs_rust_get_target(struct xfs_mount *mp, enum xfs_rust_device dev,
			 struct xfs_rust_target *target)
{
	struct xfs_buftarg	*btp = mp->m_ddev_targp;

	if (dev == XFS_RUST_LOG)
		btp = mp->m_logdev_targp;
	else if (dev == XFS_RUST_RT)
		btp = mp->m_rtdev_targp;

	/* An internal log or realtime section is part of the data device. */
	if (!btp || (dev != XFS_RUST_DATA && btp == mp->m_ddev_targp))
		return false;

	target->dax_dev = btp->bt_daxdev;
	target->offset = btp->bt_dax_part_off;
	target->sectors = btp->bt_nr_sectors;
	return target->dax_dev;
}

static inline enum xfs_group_type xfs_rust_group_type(enum xfs_rust_device dev)
{
	return dev == XFS_RUST_RT ? XG_TYPE_RTG : XG_TYPE_AG;
}

/* -EOPNOTSUPP: the device's blocks have no reverse mapping. */
int xfs_rust_get_geometry(struct xfs_mount *mp, enum xfs_rust_device dev,
			  struct xfs_rust_geometry *geo)
{
	struct xfs_groups		*g;

	if (dev == XFS_RUST_RT ? !xfs_has_rtrmapbt(mp) : !xfs_has_rmapbt(mp))
		return -EOPNOTSUPP;

	g = &mp->m_groups[xfs_rust_group_type(dev)];
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
	};

	return query->fn(&rmap, query->data);
}

/*
 * Call @fn for each record that covers a block of @first..@last (inclusive) of
 * group @gno, in the order of the btree. @group_blocks gets the size of the
 * group, 0 if there is none of that number.
 *
 * Takes the AGF buffer, or the lock of the rtgroup's rmap inode, and nothing
 * else; drops it before returning. Returns what @fn returned last, -ECANCELED
 * included, or why the btree could not be read.
 */
int xfs_rust_query_rmap(struct xfs_mount *mp, enum xfs_rust_device dev, u32 gno,
			u32 first, u32 last, xfs_rust_rmap_fn fn, void *data,
			u32 *group_blocks)
{
	struct xfs_rust_query	query = { .fn = fn, .data = data };
	struct xfs_rmap_irec	low = { .rm_startblock = first };
	struct xfs_rmap_irec	high;
	struct xfs_group	*xg;
	struct xfs_trans	*tp;
	struct xfs_btree_cur	*cur;
	struct xfs_buf		*agf_bp = NULL;
	int			error = 0;

	*group_blocks = 0;
	xg = xfs_group_grab(mp, gno, xfs_rust_group_type(dev));
	if (!xg)
		return 0;
	*group_blocks = xg->xg_block_count;

	memset(&high, 0xFF, sizeof(high));
	high.rm_startblock = last;

	tp = xfs_trans_alloc_empty(mp);
	if (dev == XFS_RUST_RT) {
		xfs_rtgroup_lock(to_rtg(xg), XFS_RTGLOCK_RMAP);
		cur = xfs_rtrmapbt_init_cursor(tp, to_rtg(xg));
	} else {
		error = xfs_alloc_read_agf(to_perag(xg), tp, 0, &agf_bp);
		if (error)
			goto out_cancel;
		cur = xfs_rmapbt_init_cursor(mp, tp, agf_bp, to_perag(xg));
	}

	error = xfs_rmap_query_range(cur, &low, &high, xfs_rust_query_fn,
				     &query);
	xfs_btree_del_cursor(cur, error);
	if (agf_bp)
		xfs_trans_brelse(tp, agf_bp);
	else
		xfs_rtgroup_unlock(to_rtg(xg), XFS_RTGLOCK_RMAP);
out_cancel:
	xfs_trans_cancel(tp);
	xfs_group_rele(xg);
	return error;
}

/* -ENODATA if the inode is not in memory, and so nobody maps it. */
int xfs_rust_iget_incore(struct xfs_mount *mp, u64 ino, struct inode **inodep)
{
	struct xfs_inode	*ip;
	int			error;

	error = xfs_iget(mp, NULL, ino, XFS_IGET_INCORE, 0, &ip);
	if (error)
		return error;
	*inodep = VFS_I(ip);
	return 0;
}

/*
 * False if the inode is not in memory or no process maps it: who maps it is what
 * keeps it in memory. Takes no reference to the inode, as there may be many to
 * ask for; *@pagp is one to its AG, for the next call or xfs_rust_perag_put().
 */
bool xfs_rust_may_be_mapped(struct xfs_mount *mp, u64 ino,
			    struct xfs_perag **pagp)
{
	xfs_agnumber_t		agno = XFS_INO_TO_AGNO(mp, ino);
	struct xfs_perag	*pag = *pagp;
	struct xfs_inode	*ip;
	bool			mapped = false;

	if (!pag || pag_agno(pag) != agno) {
		xfs_rust_perag_put(pag);
		*pagp = pag = xfs_perag_get(mp, agno);
	}
	if (!pag)
		return false;
	rcu_read_lock();
	ip = radix_tree_lookup(&pag->pag_ici_root, XFS_INO_TO_AGINO(mp, ino));
	if (ip && I_INO(ip) == ino)
		mapped = mapping_mapped(VFS_I(ip)->i_mapping);
	rcu_read_unlock();
	return mapped;
}

void xfs_rust_perag_put(struct xfs_perag *pag)
{
	if (pag)
		xfs_perag_put(pag);
}

void xfs_rust_irele(struct inode *inode)
{
	xfs_irele(XFS_I(inode));
}

/* NULL if the inode is not accessed by DAX: then what is mapped is a copy. */
struct address_space *xfs_rust_dax_mapping(struct inode *inode)
{
	return dax_mapping(inode->i_mapping) ? inode->i_mapping : NULL;
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

void xfs_rust_report_media(struct xfs_mount *mp, enum xfs_rust_device dev,
			   u64 sector, u64 sectors)
{
	static const enum xfs_device fdev[] = {
		[XFS_RUST_DATA]	= XFS_DEV_DATA,
		[XFS_RUST_LOG]	= XFS_DEV_LOG,
		[XFS_RUST_RT]	= XFS_DEV_RT,
	};

	xfs_healthmon_report_media(mp, fdev[dev], sector, sectors);
}

void xfs_rust_shutdown_corrupt(struct xfs_mount *mp)
{
	xfs_force_shutdown(mp, SHUTDOWN_CORRUPT_ONDISK);
}

void xfs_rust_shutdown_umount(struct xfs_mount *mp)
{
	xfs_force_shutdown(mp, SHUTDOWN_FORCE_UMOUNT);
}
