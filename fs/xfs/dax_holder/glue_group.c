// SPDX-License-Identifier: GPL-2.0
/*
 * Groups and reverse mappings, for the DAX holder: xfs/group.rs.
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
#include "xfs_ialloc.h"
#include "xfs_ialloc_btree.h"
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
#include "xfs_health.h"
#include "dax_holder/glue.h"
#include "dax_holder/glue_priv.h"

static_assert(XFS_RUST_BBSHIFT == BBSHIFT);
static_assert((u64)XFS_RUST_RMAP_OWN_FS == XFS_RMAP_OWN_FS);
static_assert((u64)XFS_RUST_RMAP_OWN_LOG == XFS_RMAP_OWN_LOG);
static_assert((u64)XFS_RUST_RMAP_OWN_AG == XFS_RMAP_OWN_AG);
static_assert((u64)XFS_RUST_RMAP_OWN_COW == XFS_RMAP_OWN_COW);
static_assert(XFS_RMAP_NON_INODE_OWNER(1ULL << XFS_RUST_RMAP_NON_INODE_BIT));
static_assert(!XFS_RMAP_NON_INODE_OWNER(
		(1ULL << XFS_RUST_RMAP_NON_INODE_BIT) - 1));

/* A macro, as there are no such locks without CONFIG_XFS_RT. */
#define XFS_RUST_RTLOCKS(alloc) \
	(XFS_RTGLOCK_RMAP | ((alloc) ? XFS_RTGLOCK_BITMAP : 0))

static void
xfs_rust_put_group(
	struct xfs_rust_group		*group)
{
	struct super_block		*sb = group->xg->xg_mount->m_super;

	xfs_trans_cancel(group->tp);
	xfs_group_rele(group->xg);
	if (group->alloc)
		sb_end_intwrite(sb);
}

/*
 * Lock the AGF buffer, or the rmap inode of a realtime group: the owners of its
 * blocks do not change.  With @alloc, no block is allocated or freed either, and
 * the filesystem is not frozen.
 *
 * Return -ENOENT if there is no group of that number, -EOPNOTSUPP if it has no
 * reverse mapping.
 */
int
xfs_rust_lock_group(
	struct xfs_mount		*mp,
	enum xfs_rust_device		dev,
	u32				gno,
	bool				alloc,
	struct xfs_rust_group		*group)
{
	struct xfs_group		*xg;
	int				error = 0;

	if (!xfs_rust_has_rmap(mp, dev))
		return -EOPNOTSUPP;
	xg = xfs_group_grab(mp, gno, xfs_rust_group_type(dev));
	if (!xg)
		return -ENOENT;
	group->xg = xg;
	/* As in any transaction, allocations are GFP_NOFS from here on. */
	group->tp = xfs_trans_alloc_empty(mp);
	if (alloc)
		sb_start_intwrite(mp->m_super);
	group->agf_bp = NULL;
	group->blocks = xg->xg_block_count;
	group->alloc = alloc;

	if (dev == XFS_RUST_RT)
		xfs_rtgroup_lock(to_rtg(xg), XFS_RUST_RTLOCKS(alloc));
	else
		error = xfs_alloc_read_agf(to_perag(xg), group->tp, 0,
				&group->agf_bp);
	if (error)
		xfs_rust_put_group(group);
	return error;
}

void
xfs_rust_unlock_group(
	struct xfs_rust_group		*group)
{
	if (group->agf_bp)
		xfs_trans_brelse(group->tp, group->agf_bp);
	else
		xfs_rtgroup_unlock(to_rtg(group->xg),
				XFS_RUST_RTLOCKS(group->alloc));
	xfs_rust_put_group(group);
}

struct xfs_rust_query {
	xfs_rust_rmap_fn		fn;
	void				*data;
};

static int
xfs_rust_query_fn(
	struct xfs_btree_cur		*cur,
	const struct xfs_rmap_irec	*rec,
	void				*data)
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

/*
 * Call @fn for each record that covers a block of @first..@last (inclusive) of
 * the group, in the order of the btree.  Return the last result of @fn,
 * including -ECANCELED, or the error if the btree can't be read.
 */
int
xfs_rust_query_rmap(
	const struct xfs_rust_group	*group,
	u32				first,
	u32				last,
	xfs_rust_rmap_fn		fn,
	void				*data)
{
	struct xfs_rust_query		query = { .fn = fn, .data = data };
	struct xfs_rmap_irec		low = { .rm_startblock = first };
	struct xfs_rmap_irec		high;
	struct xfs_btree_cur		*cur;
	int				error;

	memset(&high, 0xFF, sizeof(high));
	high.rm_startblock = last;

	if (group->agf_bp)
		cur = xfs_rmapbt_init_cursor(group->xg->xg_mount, group->tp,
				group->agf_bp, to_perag(group->xg));
	else
		cur = xfs_rtrmapbt_init_cursor(group->tp, to_rtg(group->xg));
	error = xfs_rmap_query_range(cur, &low, &high, xfs_rust_query_fn,
			&query);
	/* A block of the btree itself may have failed. */
	if (error == -EIO && !xfs_is_shutdown(group->xg->xg_mount))
		xfs_btree_mark_sick(cur);
	xfs_btree_del_cursor(cur, error);
	return error;
}

static int
xfs_rust_is_free_in_ag(
	const struct xfs_rust_group	*group,
	u32				first,
	u32				count)
{
	enum xbtree_recpacking		outcome;
	struct xfs_btree_cur		*cur;
	int				error;

	cur = xfs_bnobt_init_cursor(group->xg->xg_mount, group->tp,
			group->agf_bp, to_perag(group->xg));
	error = xfs_alloc_has_records(cur, first, count, &outcome);
	xfs_btree_del_cursor(cur, error);
	return error ?: outcome == XBTREE_RECPACKING_FULL;
}

#ifdef CONFIG_XFS_RT
static int
xfs_rust_is_free_in_rtg(
	const struct xfs_rust_group	*group,
	u32				first,
	u32				count)
{
	struct xfs_mount		*mp = group->xg->xg_mount;
	xfs_rtxnum_t			start = xfs_rgbno_to_rtx(mp, first);
	xfs_rtxnum_t			end =
		xfs_rgbno_to_rtx(mp, first + count - 1);
	bool				is_free;
	int				error;

	error = xfs_rtalloc_extent_is_free(to_rtg(group->xg), group->tp, start,
			end - start + 1, &is_free);
	return error ?: is_free;
}
#else
static inline int
xfs_rust_is_free_in_rtg(
	const struct xfs_rust_group	*group,
	u32				first,
	u32				count)
{
	return -EOPNOTSUPP;
}
#endif

/*
 * Return 1 if all blocks are free and stay free after a crash, 0 if one is not.
 * Return -EOPNOTSUPP for a zone, which is only freed as a whole.  The group must
 * be locked with @alloc.
 */
int
xfs_rust_is_free(
	const struct xfs_rust_group	*group,
	u32				first,
	u32				count)
{
	struct xfs_group		*xg = group->xg;
	int				ret;

	if (!xfs_group_has_extent_busy(xg->xg_mount, xg->xg_type))
		return -EOPNOTSUPP;
	if (xfs_extent_busy_search(xg, first, count))
		return 0;
	ret = group->agf_bp ? xfs_rust_is_free_in_ag(group, first, count) :
			      xfs_rust_is_free_in_rtg(group, first, count);
	/* Busy extents are also dropped when the log can't be written. */
	return xlog_is_shutdown(xg->xg_mount->m_log) ? 0 : ret;
}

static int
xfs_rust_find_block(
	struct xfs_mount		*mp,
	xfs_agblock_t			agbno,
	void				*data)
{
	return agbno == *(xfs_agblock_t *)data ? -ECANCELED : 0;
}

/*
 * Return 1 if a block of an AG is on its free list, and stays free after a crash:
 * it holds nothing.  Return -EAGAIN if it is busy.  The group must be locked with
 * @alloc.
 */
int
xfs_rust_on_free_list(
	const struct xfs_rust_group	*group,
	u32				block)
{
	struct xfs_perag		*pag = to_perag(group->xg);
	struct xfs_buf			*agfl_bp;
	int				error;

	error = xfs_alloc_read_agfl(pag, group->tp, &agfl_bp);
	if (error)
		return error;
	error = xfs_agfl_walk(pag_mount(pag), group->agf_bp->b_addr, agfl_bp,
			xfs_rust_find_block, &block);
	xfs_trans_brelse(group->tp, agfl_bp);
	if (error != -ECANCELED)
		return error;
	if (xfs_extent_busy_search(group->xg, block, 1))
		return -EAGAIN;
	/* Busy extents are also dropped when the log can't be written. */
	return xlog_is_shutdown(pag_mount(pag)->m_log) ? -EAGAIN : 1;
}

static inline bool
xfs_rust_overlaps(
	u64				sector,
	u64				sectors,
	xfs_daddr_t			first,
	u64				count)
{
	return sector < first + count && first < sector + sectors;
}

/* The headers of an AG in these of its sectors.  Other sectors are unused. */
static unsigned int
xfs_rust_sick_headers(
	struct xfs_mount		*mp,
	u64				sector,
	u64				sectors)
{
	u64				each = 1ULL << mp->m_sectbb_log;
	unsigned int			mask = 0;

	if (xfs_rust_overlaps(sector, sectors, XFS_SB_DADDR, each))
		mask |= XFS_SICK_AG_SB;
	if (xfs_rust_overlaps(sector, sectors, XFS_AGF_DADDR(mp), each))
		mask |= XFS_SICK_AG_AGF;
	if (xfs_rust_overlaps(sector, sectors, XFS_AGI_DADDR(mp), each))
		mask |= XFS_SICK_AG_AGI;
	if (xfs_rust_overlaps(sector, sectors, XFS_AGFL_DADDR(mp), each))
		mask |= XFS_SICK_AG_AGFL;
	return mask;
}

static int
xfs_rust_find_child(
	struct xfs_btree_cur		*cur,
	int				level,
	void				*data)
{
	struct xfs_buf			*bp;
	struct xfs_btree_block		*block =
					xfs_btree_get_block(cur, level, &bp);
	int				i;

	for (i = 1; i <= xfs_btree_get_numrecs(block); i++) {
		union xfs_btree_ptr	*ptr = xfs_btree_ptr_addr(cur, i, block);

		if (be32_to_cpu(ptr->s) == *(xfs_agblock_t *)data)
			return -ECANCELED;
	}
	return 0;
}

/*
 * Look for a block in a btree of an AG.  Return whether to look in the next one:
 * set @mask to @sick if the block is here, and add @sick to it if the btree can't
 * be read.  The block itself is not read: the walk ends at its parent.
 */
static bool
xfs_rust_not_in_btree(
	struct xfs_btree_cur		*cur,
	xfs_agblock_t			agbno,
	unsigned int			sick,
	unsigned int			*mask)
{
	union xfs_btree_ptr		root;
	int				error = -ECANCELED;

	xfs_btree_init_ptr_from_cur(cur, &root);
	if (be32_to_cpu(root.s) != agbno)
		error = xfs_btree_visit_blocks(cur, xfs_rust_find_child,
				XFS_BTREE_VISIT_LEAVES, &agbno);
	xfs_btree_del_cursor(cur, error);
	if (error == -ECANCELED)
		*mask = sick;
	else if (error)
		*mask |= sick;
	return error != -ECANCELED;
}

/* Which btree of an AG that its AGF knows has a block?  0: none has it now. */
static unsigned int
xfs_rust_sick_ag_btree(
	struct xfs_mount		*mp,
	u32				gno,
	xfs_agblock_t			agbno)
{
	struct xfs_rust_group		group;
	struct xfs_perag		*pag;
	unsigned int			mask = 0;

	if (xfs_rust_lock_group(mp, XFS_RUST_DATA, gno, false, &group))
		return XFS_SICK_AG_BNOBT | XFS_SICK_AG_CNTBT |
		       XFS_SICK_AG_RMAPBT;
	pag = to_perag(group.xg);
	if (xfs_rust_not_in_btree(xfs_bnobt_init_cursor(mp, group.tp,
			group.agf_bp, pag), agbno, XFS_SICK_AG_BNOBT, &mask) &&
	    xfs_rust_not_in_btree(xfs_cntbt_init_cursor(mp, group.tp,
			group.agf_bp, pag), agbno, XFS_SICK_AG_CNTBT, &mask))
		xfs_rust_not_in_btree(xfs_rmapbt_init_cursor(mp, group.tp,
			group.agf_bp, pag), agbno, XFS_SICK_AG_RMAPBT, &mask);
	xfs_rust_unlock_group(&group);
	return mask;
}

/* Which btree of an AG that its AGI knows has a block?  0: none has it now. */
static unsigned int
xfs_rust_sick_ino_btree(
	struct xfs_mount		*mp,
	u32				gno,
	xfs_agblock_t			agbno)
{
	struct xfs_perag		*pag = xfs_perag_get(mp, gno);
	struct xfs_trans		*tp;
	struct xfs_buf			*agi_bp;
	unsigned int			mask = 0;

	if (!pag)
		return 0;
	tp = xfs_trans_alloc_empty(mp);
	if (xfs_ialloc_read_agi(pag, tp, 0, &agi_bp))
		mask = XFS_SICK_AG_INOBT | XFS_SICK_AG_FINOBT;
	else if (xfs_rust_not_in_btree(xfs_inobt_init_cursor(pag, tp, agi_bp),
			agbno, XFS_SICK_AG_INOBT, &mask) && xfs_has_finobt(mp))
		xfs_rust_not_in_btree(xfs_finobt_init_cursor(pag, tp, agi_bp),
			agbno, XFS_SICK_AG_FINOBT, &mask);
	xfs_trans_cancel(tp);
	xfs_perag_put(pag);
	return mask;
}

/* Structures of a group that may be damaged.  There is no flag for a log. */
static unsigned int
xfs_rust_sick_mask(
	struct xfs_mount		*mp,
	enum xfs_rust_device		dev,
	u32				gno,
	u64				owner,
	u64				sector,
	u64				sectors)
{
	xfs_agblock_t			agbno = XFS_BB_TO_FSBT(mp, sector);

	if (dev == XFS_RUST_RT)
		return owner == XFS_RMAP_OWN_FS ? XFS_SICK_RG_SUPER : 0;

	switch (owner) {
	case XFS_RMAP_OWN_FS:
		return xfs_rust_sick_headers(mp, sector, sectors);
	case XFS_RMAP_OWN_AG:
		return xfs_rust_sick_ag_btree(mp, gno, agbno);
	case XFS_RMAP_OWN_INOBT:
		return xfs_rust_sick_ino_btree(mp, gno, agbno);
	case XFS_RMAP_OWN_INODES:
		return XFS_SICK_AG_INODES;
	case XFS_RMAP_OWN_REFC:
		return XFS_SICK_AG_REFCNTBT;
	default:
		return 0;
	}
}

/*
 * Mark metadata of a group as sick, for online repair.  The sectors are counted
 * from the start of the group.  The caller holds no lock: this locks the group.
 *
 * Return false if there is nothing to mark: a block may be on its way out of a
 * btree.
 */
bool
xfs_rust_mark_group_sick(
	struct xfs_mount		*mp,
	enum xfs_rust_device		dev,
	u32				gno,
	u64				owner,
	u64				sector,
	u64				sectors)
{
	struct xfs_group		*xg;
	unsigned int			mask;

	mask = xfs_rust_sick_mask(mp, dev, gno, owner, sector, sectors);
	if (!mask)
		return false;
	xg = xfs_group_get(mp, gno, xfs_rust_group_type(dev));
	if (!xg)
		return false;
	xfs_group_mark_sick(xg, mask);
	xfs_group_put(xg);
	return true;
}

/*
 * XFS calls this when blocks of a group are no longer busy: they are free on
 * disk too.  The caller holds the lock of the busy extents, so the worker looks
 * at the blocks later.
 */
void
xfs_rust_freed(
	struct xfs_group		*xg,
	u32				first,
	u32				count)
{
	struct xfs_mount		*mp = xg->xg_mount;
	struct xfs_dax_holder		*holder;

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
