// SPDX-License-Identifier: GPL-2.0
/*
 * Visit the owners of a range of a device without holding the lock of its
 * group.
 *
 * A page fault holds the lock of a DAX entry while it waits for the AGF, and
 * the inactivation of an inode waits for the AGF while xfs_iget() waits for the
 * inactivation. So only copy the records with the AGF buffer or the rtgroup
 * locked, and visit them after the lock is dropped.
 *
 * A block can have more owners than there is room for, which takes another
 * query. Records may be split and merged between two queries, so a query can't
 * resume at a record. It resumes at a block: a query that ends early has found
 * all owners of the blocks before the record that did not fit. If that leaves
 * no block, the owners of the first block are taken in the order of (owner,
 * file offset of the block), which splits and merges don't change.
 */
#include "xfs_platform.h"
#include "xfs_shared.h"
#include "xfs_format.h"
#include "xfs_log_format.h"
#include "xfs_trans_resv.h"
#include "xfs_mount.h"
#include "xfs_alloc.h"
#include "xfs_bit.h"
#include "xfs_btree.h"
#include "xfs_rmap.h"
#include "xfs_rmap_btree.h"
#include "xfs_trans.h"
#include "xfs_ag.h"
#include "xfs_rtgroup.h"
#include "xfs_rtrmap_btree.h"
#include "xfs_rmap_walk.h"

#include <linux/sort.h>

/* Room for records on the stack, and in an allocated buffer. */
#define XFS_RMAP_WALK_FEW	16
#define XFS_RMAP_WALK_MANY	(SZ_1M / sizeof(struct xfs_rmap_irec))

struct xfs_rmap_walk {
	/* Blocks that are left to visit. */
	xfs_agblock_t		start;
	xfs_agblock_t		end;

	/*
	 * The query has found all owners of the blocks from @start up to here.
	 */
	xfs_agblock_t		known;

	/*
	 * Take only the owners of block @start: those after @after, up to @last
	 * if there are @more.
	 */
	bool			crowded;
	bool			more;
	struct xfs_rmap_irec	after;
	struct xfs_rmap_irec	last;

	struct xfs_rmap_irec	*recs;
	unsigned int		nr_recs;
	unsigned int		max_recs;
	struct xfs_rmap_irec	few[XFS_RMAP_WALK_FEW];
};

/* Trim a record to [start, end). Returns false if nothing is left. */
static bool
xfs_rmap_walk_trim(
	struct xfs_rmap_irec	*rec,
	xfs_agblock_t		start,
	xfs_agblock_t		end)
{
	xfs_agblock_t		rec_end;

	rec_end = min(rec->rm_startblock + rec->rm_blockcount, end);
	if (rec->rm_startblock < start) {
		if (!XFS_RMAP_NON_INODE_OWNER(rec->rm_owner) &&
		    !(rec->rm_flags & XFS_RMAP_BMBT_BLOCK))
			rec->rm_offset += start - rec->rm_startblock;
		rec->rm_startblock = start;
	}
	if (rec->rm_startblock >= rec_end)
		return false;
	rec->rm_blockcount = rec_end - rec->rm_startblock;
	return true;
}

/* The order of the owners of one block. */
static int
xfs_rmap_walk_cmp(
	const void			*a,
	const void			*b)
{
	const struct xfs_rmap_irec	*reca = a;
	const struct xfs_rmap_irec	*recb = b;

	return cmp_int(reca->rm_owner, recb->rm_owner) ?:
	       cmp_int(reca->rm_offset, recb->rm_offset);
}

/* Take an owner of the first block if it is among the next in that order. */
static void
xfs_rmap_walk_collect_owner(
	struct xfs_rmap_walk	*walk,
	struct xfs_rmap_irec	rec)
{
	if (!xfs_rmap_walk_trim(&rec, walk->start, walk->start + 1) ||
	    xfs_rmap_walk_cmp(&rec, &walk->after) <= 0)
		return;

	if (walk->nr_recs == walk->max_recs) {
		/* Leave the later half to the next query. */
		sort(walk->recs, walk->nr_recs, sizeof(walk->recs[0]),
				xfs_rmap_walk_cmp, NULL);
		walk->nr_recs /= 2;
		walk->last = walk->recs[walk->nr_recs - 1];
		walk->more = true;
	}
	if (!walk->more || xfs_rmap_walk_cmp(&rec, &walk->last) <= 0)
		walk->recs[walk->nr_recs++] = rec;
}

static int
xfs_rmap_walk_collect(
	struct xfs_btree_cur		*cur,
	const struct xfs_rmap_irec	*rec,
	void				*priv)
{
	struct xfs_rmap_walk		*walk = priv;

	if (walk->crowded) {
		xfs_rmap_walk_collect_owner(walk, *rec);
		return 0;
	}

	/* Records are sorted by the block at which they start. */
	if (walk->nr_recs == walk->max_recs) {
		walk->known = max(walk->start, rec->rm_startblock);
		return -ECANCELED;
	}
	walk->recs[walk->nr_recs++] = *rec;
	return 0;
}

/* Collect as many records as there is room for. */
static int
xfs_rmap_walk_query(
	struct xfs_rmap_walk	*walk,
	struct xfs_group	*xg)
{
	struct xfs_mount	*mp = xg->xg_mount;
	struct xfs_rmap_irec	ri_low = { .rm_startblock = walk->start };
	struct xfs_rmap_irec	ri_high;
	struct xfs_buf		*agf_bp = NULL;
	struct xfs_btree_cur	*cur;
	struct xfs_trans	*tp;
	int			error;

	walk->nr_recs = 0;
	walk->more = false;
	walk->known = walk->crowded ? walk->start + 1 : walk->end;
	memset(&ri_high, 0xFF, sizeof(ri_high));
	ri_high.rm_startblock = walk->known - 1;

	tp = xfs_trans_alloc_empty(mp);
	if (xg->xg_type == XG_TYPE_AG) {
		error = xfs_alloc_read_agf(to_perag(xg), tp, 0, &agf_bp);
		if (error)
			goto out_cancel;
		cur = xfs_rmapbt_init_cursor(mp, tp, agf_bp, to_perag(xg));
	} else {
		xfs_rtgroup_lock(to_rtg(xg), XFS_RTGLOCK_RMAP);
		cur = xfs_rtrmapbt_init_cursor(tp, to_rtg(xg));
	}

	error = xfs_rmap_query_range(cur, &ri_low, &ri_high,
			xfs_rmap_walk_collect, walk);
	if (error == -ECANCELED)
		error = 0;
	xfs_btree_del_cursor(cur, error);
	if (agf_bp)
		xfs_trans_brelse(tp, agf_bp);
	else
		xfs_rtgroup_unlock(to_rtg(xg), XFS_RTGLOCK_RMAP);
out_cancel:
	xfs_trans_cancel(tp);
	return error;
}

/* Advance past the known blocks. Try to get room for more records. */
static void
xfs_rmap_walk_advance(
	struct xfs_rmap_walk	*walk)
{
	if (walk->more) {
		walk->after = walk->last;
	} else if (walk->known > walk->start) {
		walk->start = walk->known;
		walk->crowded = false;
	} else {
		/* No inode has the number zero. */
		memset(&walk->after, 0, sizeof(walk->after));
		walk->crowded = true;
	}

	if (walk->start < walk->end && walk->recs == walk->few) {
		struct xfs_rmap_irec	*recs;

		recs = kvmalloc_array(XFS_RMAP_WALK_MANY, sizeof(recs[0]),
				GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN);
		if (recs) {
			walk->recs = recs;
			walk->max_recs = XFS_RMAP_WALK_MANY;
		}
	}
}

static int
xfs_rmap_walk_group(
	struct xfs_rmap_walk	*walk,
	struct xfs_group	*xg,
	xfs_rmap_walk_fn	fn,
	void			*priv)
{
	unsigned int		i;
	int			error = 0;

	walk->crowded = false;
	while (!error && walk->start < walk->end) {
		error = xfs_rmap_walk_query(walk, xg);
		for (i = 0; i < walk->nr_recs; i++) {
			if (xfs_rmap_walk_trim(&walk->recs[i], walk->start,
					walk->known))
				fn(xg, &walk->recs[i], priv);
			cond_resched();
		}
		xfs_rmap_walk_advance(walk);
	}
	return error;
}

/*
 * Call @fn for each owner of the blocks in a range of the device that holds the
 * groups of @type. The caller must not hold a lock that nests inside that of an
 * AGF or an rtgroup.
 *
 * If the records of a group can't be read, visit those that were found before
 * the error, and go on with the other groups. Returns the first error.
 */
int
xfs_rmap_walk_owners(
	struct xfs_mount	*mp,
	enum xfs_group_type	type,
	xfs_daddr_t		daddr,
	uint64_t		bblen,
	xfs_rmap_walk_fn	fn,
	void			*priv)
{
	struct xfs_rmap_walk	walk = { .max_recs = XFS_RMAP_WALK_FEW };
	struct xfs_group	*xg = NULL;
	xfs_fsblock_t		start_bno, end_bno;
	uint32_t		start_gno, end_gno;
	int			error, error2;

	walk.recs = walk.few;
	if (type == XG_TYPE_RTG) {
		start_bno = xfs_daddr_to_rtb(mp, daddr);
		end_bno = xfs_daddr_to_rtb(mp, daddr + bblen - 1);
	} else {
		start_bno = XFS_DADDR_TO_FSB(mp, daddr);
		end_bno = XFS_DADDR_TO_FSB(mp, daddr + bblen - 1);
	}

	error = 0;
	start_gno = xfs_fsb_to_gno(mp, start_bno, type);
	end_gno = xfs_fsb_to_gno(mp, end_bno, type);
	while ((xg = xfs_group_next_range(mp, xg, start_gno, end_gno, type))) {
		walk.start = 0;
		if (xg->xg_gno == start_gno)
			walk.start = xfs_fsb_to_gbno(mp, start_bno, type);
		walk.end = xg->xg_block_count;
		if (xg->xg_gno == end_gno)
			walk.end = min(walk.end,
				       xfs_fsb_to_gbno(mp, end_bno, type) + 1);

		error2 = xfs_rmap_walk_group(&walk, xg, fn, priv);
		if (!error)
			error = error2;
	}

	if (walk.recs != walk.few)
		kvfree(walk.recs);
	return error;
}
