# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034,SC2154 # variables go to and come from the scripts
#
# The file versions beside this one: what it pins, what a mirror has, what the
# sysroot got. Sourced after lib.sh.

versions=$lab/versions

# pinned NAME: its value
pinned() {
	entries "$versions" | sed -n "s/^$1=//p"
}

# NAME=VERSION of packages and sources
pins() {
	entries "$versions" | grep -E '^(src:|linux-source-)'
}

# The same for apt. More than 1000: even when it is older than another one.
preferences() {
	pins | sed 's/^\([^=]*\)=\(.*\)/Package: \1\nPin: version \2\nPin-Priority: 1001\n/'
}

# differing FILE: the pins that "NAME VERSION" lines in FILE do not have; a version
# may end with "*"
differing() {
	pins | awk -v file="$1" '
		BEGIN { while ((getline line <file) > 0) { sub(/ /, "=", line); have[++n] = line } }
		{
			found = 0
			prefix = sub(/\*$/, "") ? length($0) : 0
			for (i = 1; i <= n && !found; i++)
				found = prefix ? substr(have[i], 1, prefix) == $0 : have[i] == $0
			if (!found) print
		}'
}

# of_packages: from a list of packages in Debian's format, "NAME VERSION" lines, of
# binaries and of their sources
of_packages() {
	awk '
		function out() { if (p) { print p, v; print "src:" s, v } p = "" }
		/^Package: / { out(); p = s = $2 }
		/^Source: / { s = $2 }
		/^Version: / { v = $2 }
		END { out() }' | sort -u
}

# available MIRROR: the same of all that MIRROR has, in $build/apt/available
available() {
	apt=$build/apt
	rm -rf "$apt"
	mkdir -p "$apt/lists/partial" "$apt/archives/partial"
	: >"$apt/status"
	printf 'deb [check-valid-until=no] %s %s main\n' "$1" "$release" \
		"$1" "$release-backports" "$1" testing >"$apt/sources.list"
	cat >"$apt/conf" <<-END
		Dir::State "$apt";
		Dir::State::status "$apt/status";
		Dir::Cache "$apt";
		Dir::Etc::sourcelist "$apt/sources.list";
		Dir::Etc::sourceparts "/dev/null";
		APT::Architecture "amd64";
		APT::Sandbox::User "root";
		Acquire::Languages "none";
		Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
	END
	APT_CONFIG=$apt/conf apt-get -q update -o APT::Update::Error-Mode=any >"$apt/log" 2>&1 || return
	/usr/lib/apt/apt-helper cat-file "$apt"/lists/*_Packages* | of_packages >"$apt/available"
}

# choose_mirror: $mirror, or a snapshot where $mirror lacks what is pinned; and
# $source_package, the kernel's source that there is
choose_mirror() {
	available "$mirror" || die "apt cannot read the lists of $mirror: $(tail -n 1 "$apt/log")"
	lacking=$(differing "$apt/available")
	if [ -n "$lacking" ]; then
		# The mirror may be a snapshot of another time.
		case $mirror in
		*/[0-9]*T[0-9]*Z) then=${mirror%/*}/$(pinned snapshot) ;;
		*) then=http://snapshot.debian.org/archive/debian/$(pinned snapshot) ;;
		esac
		if available "$then" && [ -z "$(differing "$apt/available")" ]; then
			say "$mirror no longer has $(echo "$lacking" | paste -sd ' '): all is taken from $then"
			mirror=$then
		else
			say "$mirror no longer has $(echo "$lacking" | paste -sd ' '), and $then cannot be had: taking what the mirror has"
			available "$mirror" || die "apt cannot read the lists of $mirror: $(tail -n 1 "$apt/log")"
		fi
	fi
	source_package=$(pins | sed -n 's/^\(linux-source-[0-9.]*\)=.*/\1/p')
	grep -q "^$source_package " "$apt/available" ||
		source_package=$(grep -oE '^linux-source-[0-9]+\.[0-9]+ ' "$apt/available" |
			sort -V | tail -n 1 | tr -d ' ')
	case $source_package in
	linux-source-7.[2-9]* | linux-source-7.1?* | linux-source-[89].*) ;;
	*) die "$mirror has no kernel source of 7.2 or later: name another one with DEBIAN_MIRROR=http://..., or a tree with KSRC=" ;;
	esac
	rm -rf "$apt"
}

# check_source DIR: the pinned package has the pinned source
check_source() {
	tarball=$(find "$1/usr/src" -maxdepth 1 -name 'linux-source-*.tar.xz')
	sum=$(digest <"$tarball")
	! of_packages <"$1/var/lib/dpkg/status" | grep -qxF "$(pins | grep ^linux-source | tr '=' ' ')" ||
		[ "$sum" = "$(pinned source-sha256)" ] ||
		die "${tarball##*/} has not the checksum in tools/testing/lab/versions, but $sum"
}

# sysroot_versions DIR: KEY=VALUE lines of what DIR has
sysroot_versions() {
	of_packages <"$1/var/lib/dpkg/status" >"$1/.packages"
	echo "release=$(pinned release)"
	sed -n 's/^deb \(\[.*\] \)\{0,1\}\([^ ]*\) .*/mirror=\2/p' "$1/etc/apt/sources.list" | head -n 1
	grep -E '^linux-source-[0-9]' "$1/.packages" | tr ' ' '='
	echo "source-sha256=$(digest <"$(find "$1/usr/src" -maxdepth 1 -name 'linux-source-*.tar.xz')")"
	pins | sed -n 's/^\(src:[^=]*\)=.*/\1/p' | while read -r name; do
		grep "^$name " "$1/.packages" | head -n 1 | sed 's/^src://; s/ /=/'
	done
	echo "differs=$(differing "$1/.packages" | sed 's/=.*//; s/^src://' | paste -sd ' ')"
	rm -f "$1/.packages"
}
