// SPDX-License-Identifier: GPL-2.0-only
/*
 * Poison in the memory of regions: what of it devices list, and how it is
 * replaced.
 */
#include <linux/ioport.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <cxlmem.h>
#include <cxl.h>
#include "core.h"

struct cxl_poison_context {
	struct cxl_region *cxlr;
	struct cxl_memdev *cxlmd;
	cxl_poison_fn fn;
	void *data;
};

/* Pass on a range of a device as ranges of the region that it is part of. */
static int cxl_poison_translate(const struct range *dpa, void *data)
{
	struct cxl_poison_context *ctx = data;
	struct cxl_region_params *p = &ctx->cxlr->params;
	struct range hpa = { .start = 0, .end = -1 };
	u64 gran = p->interleave_granularity;
	u64 pos, next, start;

	for (pos = dpa->start; pos <= dpa->end; pos = next) {
		next = min(dpa->end + 1, round_down(pos, gran) + gran);
		if (p->interleave_ways == 1 &&
		    !ctx->cxlr->cxlrd->ops.hpa_to_spa)
			next = dpa->end + 1;
		start = cxl_dpa_to_hpa(ctx->cxlr, ctx->cxlmd, pos);
		if (start == ULLONG_MAX)
			continue;
		if (range_len(&hpa) && start != hpa.end + 1)
			ctx->fn(ctx->data, &hpa);
		if (!range_len(&hpa) || start != hpa.end + 1)
			hpa.start = start;
		hpa.end = start + (next - pos) - 1;
		cond_resched();
	}
	if (range_len(&hpa))
		ctx->fn(ctx->data, &hpa);
	return 0;
}

/* What a device has in a region, if that is committed. */
static const struct resource *cxl_region_dpa(struct cxl_region *cxlr,
					     struct cxl_memdev *cxlmd)
{
	struct cxl_region_params *p = &cxlr->params;

	if (p->state < CXL_CONFIG_RESET_PENDING)
		return NULL;
	for (int i = 0; i < p->nr_targets; i++) {
		struct cxl_endpoint_decoder *cxled = p->targets[i];

		if (cxled && cxled_to_memdev(cxled) == cxlmd)
			return cxled->dpa_res;
	}
	return NULL;
}

/**
 * cxl_region_list_poison() - Find poison in a part of a region
 * @cxlr: the region
 * @cxlmd: one of its devices
 * @dpa: first byte of a range of the device
 * @len: bytes of the range; a single line is one that was said to be bad
 * @fn: called for each range of physical addresses that is bad
 * @data: passed to @fn
 *
 * If the device has no list, or one that lacks errors, a single line is taken
 * for bad.
 *
 * Context: @fn is called with cxl_rwsem held for read, and may not start I/O.
 * Return: 1 if there may be errors that are not listed, or what the command
 * returned.
 */
int cxl_region_list_poison(struct cxl_region *cxlr, struct cxl_memdev *cxlmd,
			   u64 dpa, u64 len, cxl_poison_fn fn, void *data)
{
	struct cxl_poison_context ctx = {
		.cxlr = cxlr,
		.cxlmd = cxlmd,
		.fn = fn,
		.data = data,
	};
	struct range line = { .start = dpa, .end = dpa + len - 1 };
	const struct resource *res;
	struct range clip;
	unsigned int noio;
	int rc;

	guard(rwsem_read)(&cxl_rwsem.region);
	guard(rwsem_read)(&cxl_rwsem.dpa);

	res = cxl_region_dpa(cxlr, cxlmd);
	if (!res)
		return 0;
	clip = (struct range) { .start = res->start, .end = res->end };

	/* Reclaim may write to memory whose poison is then cleared. */
	noio = memalloc_noio_save();
	rc = cxl_mem_list_poison(cxlmd, dpa, len, &clip, cxl_poison_translate,
				 &ctx);
	if (rc && len == CXL_POISON_LEN_MULT)
		cxl_poison_translate(&line, &ctx);
	memalloc_noio_restore(noio);
	return rc;
}
EXPORT_SYMBOL_FOR_MODULES(cxl_region_list_poison, "cxl_pmem");

struct cxl_poison_write {
	struct cxl_memdev *cxlmd;
	/* What is to be written from @dpa on; none: zeroes. */
	const void *data;
	u64 dpa;
};

static int cxl_poison_write_lines(const struct range *dpa, void *data)
{
	struct cxl_poison_write *write = data;
	int rc;

	for (u64 pos = dpa->start; pos < dpa->end; pos += CXL_POISON_LEN_MULT) {
		const void *line = NULL;

		if (write->data)
			line = write->data + (pos - write->dpa);
		rc = cxl_mem_write_poison(write->cxlmd, NULL, pos, line);
		if (rc)
			return rc;
	}
	return 0;
}

/* Replace what a device lists of a range; all of it if the list is no help. */
static int cxl_memdev_write_poison(struct cxl_memdev *cxlmd, u64 dpa,
				   const void *data, size_t len)
{
	struct range range = { .start = dpa, .end = dpa + len - 1 };
	struct cxl_poison_write write = {
		.cxlmd = cxlmd,
		.data = data,
		.dpa = dpa,
	};
	int rc;

	if (!cxl_memdev_has_poison_cmd(cxlmd, CXL_POISON_ENABLED_CLEAR))
		return -EOPNOTSUPP;

	rc = cxl_mem_list_poison(cxlmd, dpa, len, &range,
				 cxl_poison_write_lines, &write);
	return rc > 0 ? cxl_poison_write_lines(&range, &write) : rc;
}

/* The bytes from @offset on, of @len, that one device has. */
static size_t cxl_poison_chunk(struct cxl_region *cxlr, u64 offset, u64 len)
{
	u64 gran = cxlr->params.interleave_granularity;

	return min(len, gran - (offset & (gran - 1)));
}

/**
 * cxl_region_write_poison() - Replace poison with data
 * @cxlr_pmem: the pmem region, whose driver is bound
 * @hpa: physical address in it, of a line's start
 * @data: what is written
 * @len: bytes, of whole lines
 *
 * What is not listed is not written. A filesystem may wait for this, so no lock
 * is taken under which memory is allocated with I/O. The first command that
 * fails, or is not answered, ends it.
 *
 * Return: 0 if no line of the range is listed any more, -EOPNOTSUPP if a device
 * can't clear poison or can't be found by an address, or what a command
 * returned.
 */
int cxl_region_write_poison(struct cxl_pmem_region *cxlr_pmem, u64 hpa,
			    const void *data, size_t len)
{
	struct cxl_region *cxlr = to_cxl_region(cxlr_pmem->dev.parent);
	u64 offset = hpa - cxlr_pmem->hpa_range.start;
	size_t chunk;
	int rc;

	for (; len; offset += chunk, data += chunk, len -= chunk) {
		struct dpa_result result = {};

		chunk = cxl_poison_chunk(cxlr, offset, len);
		rc = cxl_pmem_region_offset_to_dpa(cxlr_pmem, offset, &result);
		if (rc)
			return rc;
		rc = cxl_memdev_write_poison(result.cxlmd, result.dpa, data,
					     chunk);
		if (rc)
			return rc;
	}
	return 0;
}
EXPORT_SYMBOL_FOR_MODULES(cxl_region_write_poison, "cxl_pmem");

/* Has a driver requested some of these addresses, as pmem or as RAM? */
static bool cxl_poison_busy(u64 hpa, u64 len)
{
	return region_intersects(hpa, len, IORESOURCE_BUSY, IORES_DESC_NONE) !=
	       REGION_DISJOINT;
}

/**
 * cxl_clear_poison_range() - Replace poison in pmem that is not in use by zeroes
 * @hpa: physical address of a line in a pmem region
 * @len: bytes, of whole lines, in the same region
 *
 * Return: 0 if no line of the range is listed any more, -ENXIO if there is no
 * such region, -EBUSY if a driver has the memory, -EOPNOTSUPP if a device can't
 * clear poison or can't be found by an address, or what a command returned.
 */
int cxl_clear_poison_range(u64 hpa, u64 len)
{
	struct resource res = DEFINE_RES_MEM(hpa, len);
	struct cxl_region *cxlr;
	size_t chunk;
	u64 offset;
	int rc;

	if (!len || res.end < res.start)
		return -EINVAL;

	guard(rwsem_read)(&cxl_rwsem.region);
	guard(rwsem_read)(&cxl_rwsem.dpa);
	struct device *dev __free(put_device) = cxl_find_region(&res);
	if (!dev)
		return -ENXIO;
	cxlr = to_cxl_region(dev);
	if (cxlr->mode != CXL_PARTMODE_PMEM)
		return -ENXIO;
	if (test_bit(CXL_REGION_F_NORMALIZED_ADDRESSING, &cxlr->flags))
		return -EOPNOTSUPP;
	if (cxl_poison_busy(hpa, len))
		return -EBUSY;

	offset = hpa - cxlr->params.res->start;
	for (; len; offset += chunk, len -= chunk) {
		struct dpa_result result = { .dpa = ULLONG_MAX };

		chunk = cxl_poison_chunk(cxlr, offset, len);
		rc = cxl_region_offset_to_dpa(cxlr, offset, &result);
		if (rc)
			return rc;
		if (!result.cxlmd || result.dpa == ULLONG_MAX)
			return -ENXIO;
		rc = cxl_memdev_write_poison(result.cxlmd, result.dpa, NULL,
					     chunk);
		if (rc)
			return rc;
	}
	return 0;
}
EXPORT_SYMBOL_FOR_MODULES(cxl_clear_poison_range, "cxl_pmem");

/* Is the line part of what a driver has requested? If in doubt, it is. */
bool cxl_poison_in_use(struct cxl_region *cxlr, struct cxl_memdev *cxlmd,
		       u64 dpa)
{
	u64 hpa;

	if (!cxl_region_dpa(cxlr, cxlmd))
		return false;
	hpa = cxl_dpa_to_hpa(cxlr, cxlmd, dpa);
	return hpa == ULLONG_MAX || cxl_poison_busy(hpa, CXL_POISON_LEN_MULT);
}
