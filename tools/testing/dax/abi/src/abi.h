/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What build.rs has bindgen translate: ioctls of files, of XFS and of NVDIMM buses. XFS's header
 * is the kernel tree's own, as the series adds to it.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/blkpg.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/fsmap.h>
#include <linux/ndctl.h>
#include <linux/stat.h>
#include <sys/types.h>

/* What its header expects of others. */
#define __user
typedef uint32_t prid_t;
typedef off_t xfs_off_t;
#include "xfs_fs.h"

/* Macros that are more than a number; build.rs takes the prefix away. */
#define CONSTANT(name) static const unsigned long long VALUE_##name = name
CONSTANT(BLKPG);
CONSTANT(FICLONE);
CONSTANT(FICLONERANGE);
CONSTANT(FIDEDUPERANGE);
CONSTANT(FIFREEZE);
CONSTANT(FITHAW);
CONSTANT(FS_IOC_FIEMAP);
CONSTANT(FS_IOC_FSGETXATTR);
CONSTANT(FS_IOC_FSSETXATTR);
CONSTANT(FS_IOC_GETFSMAP);
CONSTANT(ND_IOCTL_CALL);
CONSTANT(ND_IOCTL_CLEAR_ERROR);
CONSTANT(XFS_IOC_AG_GEOMETRY);
CONSTANT(XFS_IOC_BULKSTAT);
CONSTANT(XFS_IOC_EXCHANGE_RANGE);
CONSTANT(XFS_IOC_FD_TO_HANDLE);
CONSTANT(XFS_IOC_FSGEOMETRY);
CONSTANT(XFS_IOC_GETPARENTS_BY_HANDLE);
CONSTANT(XFS_IOC_GOINGDOWN);
CONSTANT(XFS_IOC_HEALTH_MONITOR);
CONSTANT(XFS_IOC_OPEN_BY_HANDLE);
CONSTANT(XFS_IOC_RTGROUP_GEOMETRY);
CONSTANT(XFS_IOC_VERIFY_MEDIA);
CONSTANT(FMR_OWN_FREE);
CONSTANT(FMR_OWN_METADATA);
CONSTANT(FMR_OWN_UNKNOWN);
CONSTANT(XFS_FMR_OWN_AG);
CONSTANT(XFS_FMR_OWN_COW);
CONSTANT(XFS_FMR_OWN_DEFECTIVE);
CONSTANT(XFS_FMR_OWN_FS);
CONSTANT(XFS_FMR_OWN_INOBT);
CONSTANT(XFS_FMR_OWN_INODES);
CONSTANT(XFS_FMR_OWN_LOG);
CONSTANT(XFS_FMR_OWN_REFC);
CONSTANT(XFS_HEALTH_MONITOR_CLEARED);
