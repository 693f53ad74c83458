#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# build/sysroot: Debian 13 with the toolchain, QEMU, the guest's tools and the
# kernel's source, in the versions that the file versions says where they can be
# had. It is built beside its place and renamed when it is whole.
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd -P)
. "$top/tools/testing/lab/lib.sh"
. "$top/tools/testing/lab/versions-lib.sh"

release=$(pinned release)
from_testing='xfsprogs xfslibs-dev'
unwanted='/usr/share/man/* /usr/share/doc/* /usr/share/locale/*'
# What stress-ng and PostgreSQL bring for graphics and for a compiler of their own.
unwanted="$unwanted /usr/lib/x86_64-linux-gnu/libgallium-* /usr/lib/postgresql/*/lib/bitcode/*"

# The first Debian mirror in the host's apt settings. Origin is empty when the
# host has not fetched its package lists yet.
host_mirror() {
	# shellcheck disable=SC2016 # apt's own variables
	apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)' \
		'Created-By: Packages' 2>/dev/null | sed 's/^ /unknown /' |
		while read -r origin uri suite component; do
			case $origin in Debian | unknown) ;; *) continue ;; esac
			case $uri in *debian-security*) continue ;; esac
			case $suite in
			bookworm | trixie | forky | sid | oldstable | stable | testing | unstable) ;;
			*) continue ;;
			esac
			[ "$component" = main ] || continue
			case $uri in
			mirror+file:*)
				# A list of mirrors; options may follow each.
				uri=$(entries "/${uri#mirror+file:*/}" | awk 'NR == 1 { print $1 }')
				;;
			esac
			printf '%s\n' "${uri%/}"
			break
		done
}

# The host's apt proxies, as apt.conf lines.
host_proxies() {
	apt-config dump 2>/dev/null |
		grep -E '^Acquire::https?::(.*::)?Proxy "' || :
}

# reachable URL FILE: as apt fetches it, with the host's proxy and certificates
reachable() {
	/usr/lib/apt/apt-helper download-file "$1" "$2" >/dev/null 2>&1
}

# trusted INRELEASE: do the host's keys of Debian's archive verify it? mmdebstrap and apt will
# ask the same.
trusted() {
	for ring in /usr/share/keyrings/debian-archive-keyring.[gp]p* \
		/etc/apt/trusted.gpg.d/debian-archive-*; do
		[ -e "$ring" ] || continue
		# An armored ring is nothing for gpgv; apt may have another verifier.
		command -v gpgv >/dev/null || return 0
		case $ring in *.asc) continue ;; esac
		! gpgv --status-fd 1 --keyring "$ring" "$1" 2>/dev/null |
			grep -q '^\[GNUPG:\] GOODSIG' || return 0
	done
	return 1
}

# What a sysroot is made with; sets mirror.
check_host() {
	apt-get --version >/dev/null 2>&1 ||
		die "no apt here: the lab is made from Debian packages, use Debian 12 or 13"
	mirror=${DEBIAN_MIRROR:-$(host_mirror)}
	[ -n "$mirror" ] ||
		die "no Debian mirror in the host's apt settings: name one with DEBIAN_MIRROR=http://..."
	mirror=${mirror%/}
	fetched=$(mktemp -d)
	trap 'rm -rf "$fetched"' EXIT
	reachable "$mirror/dists/$release/InRelease" "$fetched/InRelease" ||
		die "cannot fetch Debian 13 from $mirror: check network and proxy, or name another mirror with DEBIAN_MIRROR=http://..."
	trusted "$fetched/InRelease" ||
		die "no key here verifies Debian 13's archive: install debian-archive-keyring, or a newer one"
	rm -rf "$fetched"
	trap - EXIT
}

# Name resolution and certificates are the host's.
take_over_host() {
	cat /etc/resolv.conf >"$1/etc/resolv.conf" 2>/dev/null || :
	bundle=/etc/ssl/certs/ca-certificates.crt
	if [ -s $bundle ]; then
		mkdir -p "$1/etc/ssl/certs"
		cp "$bundle" "$1$bundle"
	fi
}

# Called by mmdebstrap once the system is there: sysroot.sh finish DIR MIRROR
finish() {
	take_over_host "$1"
	# The trees in build/ need not belong to root.
	printf '[safe]\n\tdirectory = *\n' >"$1/etc/gitconfig"
	# A mirror's copy of testing may be stale.
	printf 'deb [check-valid-until=no] %s testing main\n' "$2" \
		>"$1/etc/apt/sources.list.d/testing.list"
	printf 'Package: *\nPin: release a=testing\nPin-Priority: 100\n' \
		>"$1/etc/apt/preferences.d/testing"
	chroot "$1" apt-get update
	# shellcheck disable=SC2086 # a list
	chroot "$1" apt-get install -y --no-install-recommends -t testing $from_testing
	chroot "$1" apt-get clean
}

if [ "${1-}" = finish ]; then
	finish "$2" "$3"
	exit
fi

packages=$(entries "$lab/packages" | sort)
key=$({
	printf '%s\n' 2 "$from_testing" "$unwanted" "$packages"
	entries "$versions"
} | digest)

# In one line, what is not as it should be.
tell_versions() {
	[ -e "$1/.versions" ] || sysroot_versions "$1" >"$1/.versions"
	differs=$(sed -n 's/^differs=//p' "$1/.versions")
	[ -z "$differs" ] ||
		say "not as pinned in tools/testing/lab/versions: $(for name in $differs; do
			grep "^$name=" "$1/.versions" || echo "$name"
		done | paste -sd ' ')"
}

# For preflight.sh: can one be made, if it has to be?
if [ "${1-}" = check ]; then
	! stamped "$sysroot/.stamp" "$key" || exit 0
	need_space 14
	check_host
	exit
fi

need_root
lock
if stamped "$sysroot/.stamp" "$key"; then
	take_over_host "$sysroot"
	tell_versions "$sysroot"
	exit
fi

need_space 14
# Its name must not be taken by a directory that is still mounted somewhere.
in_use "$sysroot" && die "$sysroot is out of date, but in use: end the guests and builds, then run again"
check_host
if ! command -v mmdebstrap >/dev/null; then
	step mmdebstrap 0 sh -c 'apt-get update && DEBIAN_FRONTEND=noninteractive \
		apt-get install -y --no-install-recommends mmdebstrap' ||
		die "mmdebstrap is missing and apt-get cannot install it: install it by hand"
fi

choose_mirror
say "sysroot: Debian $release from $mirror"
preferences >"$build/preferences"
tmp=$sysroot.tmp
rm -rf --one-file-system "$tmp"
set -- --mode=root --verbose --variant=minbase --dpkgopt=force-unsafe-io \
	--include="$(printf '%s\n' "$packages" "$source_package" | paste -sd ,)" \
	--aptopt='Acquire::Retries "3"' --aptopt='Acquire::Check-Valid-Until "false"' \
	--setup-hook="mkdir -p \"\$1/etc/postgresql-common\"" \
	--setup-hook="echo create_main_cluster = false >\"\$1/etc/postgresql-common/createcluster.conf\"" \
	--setup-hook="cp '$build/preferences' \"\$1/etc/apt/preferences.d/versions\"" \
	--customize-hook="'$lab/sysroot.sh' finish \"\$1\" '$mirror'"
set -f
for path in $unwanted; do
	set -- "$@" --dpkgopt="path-exclude=$path"
done
IFS='
'
for proxy in $(host_proxies); do
	set -- "$@" --aptopt="${proxy%;}"
done
unset IFS
set +f
step sysroot 2400 mmdebstrap "$@" "$release" "$tmp" \
	"deb $mirror $release main" "deb $mirror $release-backports main" ||
	die "the sysroot could not be built: see above; it starts afresh next time"
check_source "$tmp"
take_over_host "$tmp"
tell_versions "$tmp"
printf '%s\n' "$key" >"$tmp/.stamp"
rm -rf --one-file-system "$sysroot.old"
[ ! -e "$sysroot" ] || mv "$sysroot" "$sysroot.old"
mv "$tmp" "$sysroot"
rm -rf --one-file-system "$sysroot.old"
