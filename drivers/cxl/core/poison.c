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

/* Pass on a range of a device as ranges of the region that it is part of. */
static void cxl_poison_translate(struct cxl_region *cxlr,
				 struct cxl_memdev *cxlmd, struct range dpa,
				 cxl_poison_fn fn, void *data)
{
	u64 gran = cxlr->params.interleave_granularity;
	struct range hpa = { .start = 0, .end = -1 };
	u64 pos, next;

	for (pos = dpa.start; pos <= dpa.end; pos = next) {
		u64 start = cxl_dpa_to_hpa(cxlr, cxlmd, pos);

		next = min(dpa.end + 1, round_down(pos, gran) + gran);
		if (start == ULLONG_MAX)
			continue;
		if (range_len(&hpa) && start != hpa.end + 1)
			fn(data, &hpa);
		if (!range_len(&hpa) || start != hpa.end + 1)
			hpa.start = start;
		hpa.end = start + (next - pos) - 1;
	}
	if (range_len(&hpa))
		fn(data, &hpa);
}

struct cxl_poison_context {
	struct cxl_region *cxlr;
	struct cxl_memdev *cxlmd;
	cxl_poison_fn fn;
	void *data;
};

static int cxl_poison_listed(const struct range *dpa, void *data)
{
	struct cxl_poison_context *ctx = data;

	cxl_poison_translate(ctx->cxlr, ctx->cxlmd, *dpa, ctx->fn, ctx->data);
	return 0;
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
 */
void cxl_region_list_poison(struct cxl_region *cxlr, struct cxl_memdev *cxlmd,
			    u64 dpa, u64 len, cxl_poison_fn fn, void *data)
{
	struct cxl_poison_context ctx = {
		.cxlr = cxlr,
		.cxlmd = cxlmd,
		.fn = fn,
		.data = data,
	};
	struct range line = { .start = dpa, .end = dpa + len - 1 };
	struct cxl_region *found = NULL;
	unsigned int noio;
	int rc;

	guard(rwsem_read)(&cxl_rwsem.region);
	guard(rwsem_read)(&cxl_rwsem.dpa);

	for (int i = 0; i < cxlr->params.nr_targets; i++) {
		struct cxl_endpoint_decoder *cxled = cxlr->params.targets[i];

		if (cxled && cxled_to_memdev(cxled) == cxlmd)
			found = cxlr;
	}
	if (!found || cxlr->params.state < CXL_CONFIG_RESET_PENDING)
		return;

	/* Reclaim may write to memory whose poison is then cleared. */
	noio = memalloc_noio_save();
	rc = cxl_mem_list_poison(cxlmd, dpa, len, cxl_poison_listed, &ctx);
	if (rc && len == CXL_POISON_LEN_MULT)
		cxl_poison_translate(cxlr, cxlmd, line, fn, data);
	memalloc_noio_restore(noio);
}
EXPORT_SYMBOL_FOR_MODULES(cxl_region_list_poison, "cxl_pmem");

struct cxl_poison_write {
	struct cxl_memdev *cxlmd;
	/* What is to be written from @dpa on; none: zeroes. */
	const void *data;
	u64 dpa;
};

static int cxl_poison_write_listed(const struct range *dpa, void *data)
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

/**
 * cxl_region_write_poison() - Replace poison with data
 * @cxlr: the region, whose driver is bound, so that it is not reset
 * @hpa: physical address in it, of a line's start
 * @data: what is written, or NULL for zeroes
 * @len: bytes, of whole lines
 *
 * What is not listed is not written. A filesystem may wait for this, so no lock
 * is taken under which memory is allocated with I/O. The first command that
 * fails, or is not answered, ends it.
 *
 * Return: 0 if no line of the range is listed any more, -EOPNOTSUPP if a device
 * can't clear poison, or what a command returned.
 */
int cxl_region_write_poison(struct cxl_region *cxlr, u64 hpa, const void *data,
			    size_t len)
{
	struct cxl_region_params *p = &cxlr->params;
	u64 offset = hpa - p->res->start - p->cache_size;
	u64 gran = p->interleave_granularity;
	size_t chunk;
	int rc;

	for (; len; offset += chunk, len -= chunk) {
		struct dpa_result result = { .dpa = ULLONG_MAX };
		struct cxl_poison_write write;

		chunk = min(len, gran - (offset & (gran - 1)));
		rc = cxl_region_offset_to_dpa(cxlr, offset, &result);
		if (rc)
			return rc;
		if (!result.cxlmd || result.dpa == ULLONG_MAX)
			return -ENXIO;
		write = (struct cxl_poison_write) {
			.cxlmd = result.cxlmd,
			.data = data,
			.dpa = result.dpa,
		};
		if (!cxl_memdev_has_poison_cmd(result.cxlmd,
					       CXL_POISON_ENABLED_CLEAR))
			return -EOPNOTSUPP;
		rc = cxl_mem_list_poison(result.cxlmd, result.dpa, chunk,
					 cxl_poison_write_listed, &write);
		if (rc > 0) {
			struct range all = {
				.start = result.dpa,
				.end = result.dpa + chunk - 1,
			};

			rc = cxl_poison_write_listed(&all, &write);
		}
		if (rc)
			return rc;
		if (data)
			data += chunk;
	}
	return 0;
}
EXPORT_SYMBOL_FOR_MODULES(cxl_region_write_poison, "cxl_pmem");

/**
 * cxl_clear_poison_range() - Replace poison with zeroes
 * @hpa: physical address of a line in a region
 * @len: bytes, of whole lines, in the same region
 *
 * Return: as cxl_region_write_poison(), or -ENXIO if there is no region.
 */
int cxl_clear_poison_range(u64 hpa, u64 len)
{
	struct resource res = DEFINE_RES_MEM(hpa, len);

	guard(rwsem_read)(&cxl_rwsem.region);
	guard(rwsem_read)(&cxl_rwsem.dpa);
	struct device *dev __free(put_device) = cxl_find_region(&res);
	if (!dev)
		return -ENXIO;
	return cxl_region_write_poison(to_cxl_region(dev), hpa, NULL, len);
}
EXPORT_SYMBOL_FOR_MODULES(cxl_clear_poison_range, "cxl_pmem");

/* Is the line part of what a driver has requested, be it pmem or RAM? */
bool cxl_poison_in_use(struct cxl_region *cxlr, struct cxl_memdev *cxlmd,
		       u64 dpa)
{
	u64 hpa = cxl_dpa_to_hpa(cxlr, cxlmd, dpa);

	return hpa != ULLONG_MAX &&
	       region_intersects(hpa, CXL_POISON_LEN_MULT, IORESOURCE_BUSY,
				 IORES_DESC_NONE) != REGION_DISJOINT;
}
