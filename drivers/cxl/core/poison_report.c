// SPDX-License-Identifier: GPL-2.0-only
/*
 * The users of a region's memory are told of poison in it.
 *
 * A device keeps a list of the lines that it knows to be bad. That list decides:
 * an event, firmware's record or a request of user space only has it read, in
 * a range. So it does not matter how often an error is told, or whether it was
 * cleared meanwhile.
 *
 * Locks, in this order: the memdev, for as long as its region is looked up; the
 * region and the nvdimm bridge, for as long as its pmem region is; the pmem
 * region, under which cxl_rwsem is taken for read to use the list, and dropped
 * before libnvdimm's region and namespaces are locked to tell their users. These
 * may wait for a write that clears poison: it takes the mutex of the list and no
 * other of these locks.
 */
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <cxlmem.h>
#include <cxl.h>
#include "core.h"

static struct workqueue_struct *cxl_poison_wq;

/* A range of a device in which there may be poison, or of bad memory. */
struct cxl_poison_report {
	struct list_head list;
	u64 start;
	u64 len;
};

static int cxl_poison_add(struct list_head *reports, u64 start, u64 len)
{
	struct cxl_poison_report *report = kmalloc_obj(*report, GFP_NOIO);

	if (!report) {
		pr_err_ratelimited("cxl: poison at %#llx is not reported\n",
				   start);
		return -ENOMEM;
	}
	report->start = start;
	report->len = len;
	list_add_tail(&report->list, reports);
	return 0;
}

static void cxl_poison_add_ram(void *ram, const struct range *hpa)
{
	cxl_poison_add(ram, hpa->start, range_len(hpa));
}

static void cxl_poison_fail_page(struct cxl_region *cxlr, unsigned long pfn)
{
	u64 cache_size = cxlr->params.cache_size;

	if (!IS_ENABLED(CONFIG_MEMORY_FAILURE))
		return;
	memory_failure(pfn, MF_FOUND);
	/* An extended linear cache has the memory at two addresses. */
	if (cache_size)
		memory_failure(pfn - PHYS_PFN(cache_size), MF_FOUND);
}

/* RAM: its pages fail, each once. */
static void cxl_poison_fail(struct cxl_region *cxlr, struct list_head *ram)
{
	struct cxl_poison_report *bad, *next;
	unsigned long last = ULONG_MAX;

	list_for_each_entry_safe(bad, next, ram, list) {
		unsigned long pfn = PHYS_PFN(bad->start);

		for (; pfn <= PHYS_PFN(bad->start + bad->len - 1); pfn++) {
			if (pfn != last)
				cxl_poison_fail_page(cxlr, pfn);
			last = pfn;
		}
		kfree(bad);
	}
}

/* The pmem region of a region, if it has one now. */
static struct device *cxl_get_pmem_region(struct cxl_region *cxlr)
{
	guard(device)(&cxlr->dev);
	if (!cxlr->cxl_nvb)
		return NULL;
	/* It goes with the region or with the bridge. */
	guard(device)(&cxlr->cxl_nvb->dev);
	return cxlr->cxlr_pmem ? get_device(&cxlr->cxlr_pmem->dev) : NULL;
}

static void cxl_poison_tell(struct cxl_region *cxlr, struct cxl_memdev *cxlmd,
			    struct cxl_poison_report *report)
{
	struct device *dev;
	LIST_HEAD(ram);

	if (cxlr->mode == CXL_PARTMODE_RAM) {
		cxl_region_list_poison(cxlr, cxlmd, report->start, report->len,
				       cxl_poison_add_ram, &ram);
		cxl_poison_fail(cxlr, &ram);
		return;
	}

	dev = cxl_get_pmem_region(cxlr);
	if (!dev)
		return;
	scoped_guard(device, dev) {
		struct cxl_driver *drv =
			dev->driver ? to_cxl_drv(dev->driver) : NULL;

		if (drv && drv->poison)
			drv->poison(dev, cxlmd, report->start, report->len);
	}
	put_device(dev);
}

static struct cxl_region *cxl_poison_region(struct cxl_memdev *cxlmd, u64 dpa)
{
	struct cxl_region *cxlr;

	guard(device)(&cxlmd->dev);
	guard(rwsem_read)(&cxl_rwsem.region);
	guard(rwsem_read)(&cxl_rwsem.dpa);
	cxlr = cxl_dpa_to_region(cxlmd, dpa);
	if (cxlr)
		get_device(&cxlr->dev);
	return cxlr;
}

static void cxl_poison_work(struct work_struct *work)
{
	struct cxl_memdev *cxlmd =
		container_of(work, struct cxl_memdev, poison_work);
	struct cxl_poison_report *report, *next;
	struct cxl_region *cxlr;
	LIST_HEAD(reports);

	scoped_guard(spinlock, &cxlmd->poison_lock)
		list_splice_init(&cxlmd->poison_reports, &reports);

	list_for_each_entry_safe(report, next, &reports, list) {
		cxlr = cxl_poison_region(cxlmd, report->start);
		if (cxlr) {
			cxl_poison_tell(cxlr, cxlmd, report);
			put_device(&cxlr->dev);
		}
		kfree(report);
	}
	put_device(&cxlmd->dev);
}

/**
 * cxl_poison_report() - Have the users of a region's memory told of poison
 * @cxlmd: the device
 * @dpa: first byte of a range of it, all in one region or in none
 * @len: bytes of the range; a single line is one that was said to be bad
 *
 * Context: process context. May be called with cxl_rwsem held for read.
 */
void cxl_poison_report(struct cxl_memdev *cxlmd, u64 dpa, u64 len)
{
	LIST_HEAD(report);

	if (cxl_poison_add(&report, dpa, len))
		return;
	scoped_guard(spinlock, &cxlmd->poison_lock)
		list_splice_tail(&report, &cxlmd->poison_reports);
	get_device(&cxlmd->dev);
	if (!queue_work(cxl_poison_wq, &cxlmd->poison_work))
		put_device(&cxlmd->dev);
}

void cxl_memdev_init_poison(struct cxl_memdev *cxlmd)
{
	spin_lock_init(&cxlmd->poison_lock);
	INIT_LIST_HEAD(&cxlmd->poison_reports);
	INIT_WORK(&cxlmd->poison_work, cxl_poison_work);
}

int cxl_poison_init(void)
{
	cxl_poison_wq = alloc_workqueue("cxl_poison", WQ_UNBOUND, 0);
	return cxl_poison_wq ? 0 : -ENOMEM;
}

void cxl_poison_exit(void)
{
	destroy_workqueue(cxl_poison_wq);
}
