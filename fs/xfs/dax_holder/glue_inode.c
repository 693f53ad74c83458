// SPDX-License-Identifier: GPL-2.0
/*
 * Inodes and their data, for the DAX holder: xfs/inode.rs.
 */
#include "xfs_platform.h"
#include "xfs_shared.h"
#include "xfs_format.h"
#include "xfs_log_format.h"
#include "xfs_trans_resv.h"
#include "xfs_mount.h"
#include "xfs_inode.h"
#include "xfs_bmap.h"
#include "xfs_bmap_util.h"
#include "xfs_icache.h"
#include "xfs_metafile.h"
#include "xfs_rtgroup.h"
#include "xfs_ag.h"
#include "xfs_health.h"
#include "dax_holder/glue.h"
#include "dax_holder/glue_priv.h"

#include <linux/dax.h>
#include <linux/fserror.h>

/* Get the AG of an inode.  @pagp caches the AG of the last call. */
static struct xfs_perag *
xfs_rust_perag_of(
	struct xfs_mount		*mp,
	u64				ino,
	struct xfs_perag		**pagp)
{
	xfs_agnumber_t			agno = XFS_INO_TO_AGNO(mp, ino);

	if (!*pagp || pag_agno(*pagp) != agno) {
		xfs_rust_perag_put(*pagp);
		*pagp = xfs_perag_get(mp, agno);
	}
	return *pagp;
}

void
xfs_rust_perag_put(
	struct xfs_perag		*pag)
{
	if (pag)
		xfs_perag_put(pag);
}

/*
 * Say why xfs_iget() returned -EAGAIN: -ENOENT if the inode is deleted, -EBUSY if
 * it is being evicted, which waits for its pinned DAX pages; 0 if XFS is busy
 * with it.
 */
static int
xfs_rust_leaving(
	struct xfs_mount		*mp,
	u64				ino)
{
	struct xfs_perag		*pag = NULL;
	struct xfs_inode		*ip;
	int				error = 0;

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
 * Get an inode.  With @incore, do not read it: an inode that a process maps is in
 * memory.
 *
 * Return -ENODATA if it is not in memory, -EINVAL or -ENOENT if it is no file.
 * An inode on its way into or out of memory is waited for, except with @incore,
 * or while the filesystem is frozen: then return -EAGAIN.  Pinned pages keep an
 * inode from leaving memory for an unlimited time.  So return -ENOENT at once if
 * it was deleted, and -EBUSY after a second if it was not.
 */
int
xfs_rust_iget(
	struct xfs_mount		*mp,
	u64				ino,
	bool				incore,
	struct inode			**inodep)
{
	unsigned int			flags = XFS_IGET_INCORE;
	unsigned long			limit = jiffies + HZ;
	struct xfs_inode		*ip;
	int				error, leaving;

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
 * Notifications and the worker drop inodes.  memory_failure() waits for the
 * former and a freeze for the latter, so neither must wait for pinned pages of a
 * file.
 */
void
xfs_rust_irele(
	struct inode			*inode)
{
	xfs_irele_async(XFS_I(inode));
}

struct address_space *
xfs_rust_mapping(
	struct inode			*inode)
{
	return inode->i_mapping;
}

/*
 * Find where on device @dev the first of @len bytes at @pos of a file are, and
 * how many bytes are contiguous from there.  Takes ILOCK.
 */
int
xfs_rust_map(
	struct inode			*inode,
	enum xfs_rust_device		dev,
	loff_t				pos,
	u64				len,
	struct xfs_rust_extent		*ext)
{
	struct xfs_inode		*ip = XFS_I(inode);
	struct xfs_mount		*mp = ip->i_mount;
	xfs_fileoff_t			first = XFS_B_TO_FSBT(mp, pos);
	xfs_fileoff_t			end = XFS_B_TO_FSB(mp, pos + len);
	u64				skip = pos - XFS_FSB_TO_B(mp, first);
	struct xfs_bmbt_irec		irec;
	unsigned int			lock;
	int				nimaps = 1;
	int				error;

	ext->bytes = len;
	ext->sector = U64_MAX;
	lock = xfs_ilock_data_map_shared(ip);
	/* The inode may be reused, as a symbolic link or a pipe. */
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

/* Does the data fork of an inode hold metadata, and not the data of a file? */
bool
xfs_rust_holds_metadata(
	struct inode			*inode)
{
	return !S_ISREG(inode->i_mode) || xfs_is_internal_inode(XFS_I(inode));
}

#define XFS_RUST_DATA_LOCKS	(XFS_IOLOCK_EXCL | XFS_MMAPLOCK_EXCL)

/*
 * Lock a file against reads, writes and page faults, and write back the page
 * cache of these bytes.
 *
 * Return -EAGAIN if the file is locked, maybe for long, or has direct I/O in
 * flight.  Return -ETXTBSY for a swap file: swap writes take no lock, and go to
 * unwritten space too.
 */
int
xfs_rust_lock_data(
	struct inode			*inode,
	loff_t				pos,
	u64				len)
{
	struct xfs_inode		*ip = XFS_I(inode);
	int				error = -EAGAIN;

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

void
xfs_rust_unlock_data(
	struct inode			*inode)
{
	xfs_iunlock(XFS_I(inode), XFS_RUST_DATA_LOCKS);
}

void
xfs_rust_report_lost(
	struct inode			*inode,
	loff_t				pos,
	u64				len)
{
	fserror_report_data_lost(inode, pos, len, GFP_NOFS);
}

#ifdef CONFIG_XFS_RT
/* Mark what an inode of the realtime groups holds as sick. */
static bool
xfs_rust_mark_rtginode_sick(
	struct xfs_inode		*ip)
{
	struct xfs_rtgroup		*rtg = NULL;
	enum xfs_rtg_inodes		type;

	while ((rtg = xfs_rtgroup_next(ip->i_mount, rtg))) {
		for (type = 0; type < XFS_RTGI_MAX; type++) {
			if (rtg->rtg_inodes[type] != ip)
				continue;
			xfs_rtginode_mark_sick(rtg, type);
			xfs_rtgroup_rele(rtg);
			return true;
		}
	}
	return false;
}
#else
static inline bool
xfs_rust_mark_rtginode_sick(
	struct xfs_inode		*ip)
{
	return false;
}
#endif

static unsigned int
xfs_rust_sick_quota(
	struct xfs_inode		*ip)
{
	struct xfs_sb			*sb = &ip->i_mount->m_sb;

	if (xfs_has_metadir(ip->i_mount))
		switch (ip->i_metatype) {
		case XFS_METAFILE_USRQUOTA:
			return XFS_SICK_FS_UQUOTA;
		case XFS_METAFILE_GRPQUOTA:
			return XFS_SICK_FS_GQUOTA;
		case XFS_METAFILE_PRJQUOTA:
			return XFS_SICK_FS_PQUOTA;
		default:
			return 0;
		}
	if (I_INO(ip) == sb->sb_uquotino)
		return XFS_SICK_FS_UQUOTA;
	if (I_INO(ip) == sb->sb_gquotino)
		return XFS_SICK_FS_GQUOTA;
	return I_INO(ip) == sb->sb_pquotino ? XFS_SICK_FS_PQUOTA : 0;
}

/*
 * Mark metadata of an inode as sick.  The filesystem may be frozen, so do not
 * wait for the inode.
 */
void
xfs_rust_mark_inode_sick(
	struct xfs_mount		*mp,
	u64				ino,
	bool				attr_fork,
	bool				bmbt_block)
{
	struct xfs_inode		*ip;
	unsigned int			quota;

	if (xfs_iget(mp, NULL, ino, XFS_IGET_UNTRUSTED | XFS_IGET_NORETRY, 0,
			&ip))
		return;
	quota = xfs_rust_sick_quota(ip);
	if (attr_fork && !bmbt_block)
		xfs_inode_mark_sick(ip, XFS_SICK_INO_XATTR);
	else if (quota)
		xfs_fs_mark_sick(mp, quota);
	else if (xfs_rust_mark_rtginode_sick(ip))
		;
	else if (bmbt_block)
		xfs_bmap_mark_sick(ip, attr_fork ? XFS_ATTR_FORK :
						   XFS_DATA_FORK);
	else if (S_ISDIR(VFS_I(ip)->i_mode))
		xfs_inode_mark_sick(ip, XFS_SICK_INO_DIR);
	else if (S_ISLNK(VFS_I(ip)->i_mode))
		xfs_inode_mark_sick(ip, XFS_SICK_INO_SYMLINK);
	xfs_irele_async(ip);
}

/*
 * Return false if the inode is not in memory, or if no process maps it: a
 * mapping keeps an inode in memory.  There may be many inodes to ask for, so this
 * takes no reference to an inode, only one to its AG, in @pagp.
 */
bool
xfs_rust_may_be_mapped(
	struct xfs_mount		*mp,
	u64				ino,
	struct xfs_perag		**pagp)
{
	struct xfs_perag		*pag = xfs_rust_perag_of(mp, ino, pagp);
	struct xfs_inode		*ip;
	bool				mapped = false;

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
 * Return true if the page cache has the data of an inode at @pos up to date, so
 * that the data on the device is not needed.  *@len is cut to the bytes for which
 * the answer is the same.  Takes a reference to an AG, as
 * xfs_rust_may_be_mapped().
 */
bool
xfs_rust_is_cached(
	struct xfs_mount		*mp,
	u64				ino,
	u64				pos,
	u64				*len,
	struct xfs_perag		**pagp)
{
	struct xfs_perag		*pag = xfs_rust_perag_of(mp, ino, pagp);
	struct address_space		*mapping;
	struct xfs_inode		*ip;
	u64				end = pos + *len;
	u64				to = pos;
	bool				cached = false;

	if (!pag)
		return false;
	rcu_read_lock();
	ip = radix_tree_lookup(&pag->pag_ici_root, XFS_INO_TO_AGINO(mp, ino));
	if (!ip || I_INO(ip) != ino)
		goto out;
	mapping = VFS_I(ip)->i_mapping;
	/* DAX entries refer to the device itself. */
	if (dax_mapping(mapping) || mapping_empty(mapping))
		goto out;

	while (to < end) {
		struct folio		*folio = filemap_get_folio(mapping,
							to >> PAGE_SHIFT);
		bool			uptodate = false;

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
