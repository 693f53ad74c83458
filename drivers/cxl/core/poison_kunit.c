// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of what is made of the records of a poison list.
 */
#include <kunit/test.h>
#include <linux/limits.h>
#include <linux/range.h>
#include <cxlmem.h>

/* What is asked for: four lines. */
static const struct range asked = { .start = 0x1000, .end = 0x10ff };

struct cxl_poison_case {
	const char *name;
	/* The record: address with the source, and lines. */
	u64 address;
	u32 lines;
	/* What is bad; an empty range is nothing. */
	struct range bad;
};

static const struct cxl_poison_case cases[] = {
	{ "a line", 0x1040, 1, { 0x1040, 0x107f } },
	{ "the source is no part of the address",
	  0x1040 | CXL_POISON_SOURCE_VENDOR, 1, { 0x1040, 0x107f } },
	{ "reserved bits are none either", 0x1040 | 0x38, 1,
	  { 0x1040, 0x107f } },
	{ "all", 0x1000, 4, { 0x1000, 0x10ff } },
	{ "it begins before", 0xfc0, 2, { 0x1000, 0x103f } },
	{ "it ends behind", 0x10c0, 2, { 0x10c0, 0x10ff } },
	{ "it covers more", 0, U32_MAX, { 0x1000, 0x10ff } },
	{ "it is before", 0xfc0, 1, { 0, -1 } },
	{ "it is behind", 0x1100, 1, { 0, -1 } },
	{ "it is empty", 0x1040, 0, { 0, -1 } },
	{ "its end is the last byte there is", U64_MAX - 63, 1, { 0, -1 } },
	{ "its end overflows", U64_MAX - 63, 2, { 0, -1 } },
};

static void cxl_poison_case_name(const struct cxl_poison_case *test, char *name)
{
	strscpy(name, test->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(cxl_poison, cases, cxl_poison_case_name);

static void record_is_clipped(struct kunit *test)
{
	const struct cxl_poison_case *param = test->param_value;
	const struct cxl_poison_record record = {
		.address = cpu_to_le64(param->address),
		.length = cpu_to_le32(param->lines),
	};
	struct range bad;
	bool found = cxl_poison_record_range(&record, &asked, &bad);

	KUNIT_ASSERT_EQ(test, found, range_len(&param->bad) != 0);
	if (!found)
		return;
	KUNIT_EXPECT_EQ(test, bad.start, param->bad.start);
	KUNIT_EXPECT_EQ(test, bad.end, param->bad.end);
}

static struct kunit_case cxl_poison_cases[] = {
	KUNIT_CASE_PARAM(record_is_clipped, cxl_poison_gen_params),
	{}
};

static struct kunit_suite cxl_poison_suite = {
	.name = "cxl_poison",
	.test_cases = cxl_poison_cases,
};

kunit_test_suite(cxl_poison_suite);

MODULE_DESCRIPTION("CXL: KUnit tests of poison lists");
MODULE_LICENSE("GPL");
