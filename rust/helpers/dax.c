// SPDX-License-Identifier: GPL-2.0

#include <linux/dax.h>

__rust_helper bool rust_helper_dax_mapping(struct address_space *mapping)
{
	return dax_mapping(mapping);
}
