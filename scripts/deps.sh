# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # $cache, $work, $deps_lock come from setup.sh; $prefix goes to it
# wolfSSL and ngtcp2: where they are kept, how they are fetched, checked, patched and built.
# Sourced by setup.sh, after lib.sh. Both are static libraries in one prefix outside the source tree,
# named after everything that goes into them, so that checkouts share it and a change makes a new one.

deps_suite=trixie
deps_recipe=1   # raise it when build_deps changes in a way that the flags below don't show

wolfssl_flags=(
	--enable-static --disable-shared --with-pic
	--enable-quic --enable-tls13 --enable-session-ticket --enable-earlydata --enable-psk
	--enable-alpn --enable-sni --enable-keygen --enable-certgen --enable-certreq --enable-certext
	--enable-curve25519 --enable-ed25519 --enable-chacha --enable-poly1305
	--enable-aesgcm --enable-aesctr --enable-hkdf --enable-opensslextra
	--enable-sp-math-all --disable-oldtls --disable-examples
	CPPFLAGS=-DHAVE_AES_ECB
)
# Chosen at run time by what the CPU can do.
[ "$HOSTTYPE" != x86_64 ] ||
	wolfssl_flags+=(--enable-aesni --enable-intelasm "--enable-sp=yes,asm" --enable-sp-asm)

ngtcp2_flags=(
	--enable-lib-only --with-wolfssl --without-openssl --without-gnutls
	--enable-static --disable-shared "CFLAGS=-O2 -g -fPIC"
	# Without these its configure script can't link wolfSSL, and says that it has no QUIC interface.
	"LIBS=-lm -pthread"
)

# The cache folder. Under sudo it is the one of the person who called sudo, so that what root
# builds is found by that person's meson.
deps_cache_dir() {
	local home=${HOME:-}
	if [ -n "${QUICPORT_CACHE:-}" ]; then
		printf '%s\n' "$QUICPORT_CACHE"
		return
	elif [ "$EUID" = 0 ] && [ -n "${SUDO_USER:-}" ]; then
		home=$(getent passwd "$SUDO_USER" | cut -d: -f6)
	fi
	printf '%s/quicport\n' "${XDG_CACHE_HOME:-${home:-/root}/.cache}"
}

lock_lines() { grep -v -e '^#' -e '^$' "$deps_lock"; }

# out: $prefix, where the libraries are, or will be once they are built.
deps_prefix() {
	local compiler key
	compiler=$(gcc --version 2>/dev/null) || compiler=none
	key=$({
		lock_lines
		printf '%s\n' $deps_recipe "$HOSTTYPE" "${wolfssl_flags[@]}" "${ngtcp2_flags[@]}"
		printf '%s\n' "${compiler%%$'\n'*}"
	} | sha256sum)
	prefix=$cache/deps/${key:0:16}
}

# The places that this machine's own apt sources name for Debian, one URI a line. apt reads its
# files itself, whatever their format, and without the network. QUICPORT_MIRROR goes first.
mirrors() {
	local uri
	for uri in ${QUICPORT_MIRROR:-}; do
		printf '%s\n' "${uri%/}"
	done
	apt-get update --print-uris 2>/dev/null | sed -nE \
		"s,^'(.*)/dists/(bookworm|oldstable|stable)(-security|-updates|-backports)?/InRelease'.*,\1,p" |
		awk '!seen[$0]++'
}

has_sha256() { [ -f "$1" ] && echo "$2  $1" | sha256sum --check --status; }

# fetch NAME FILE SHA256: from a mirror's pool into the cache, by apt's own downloader, so that
# proxies and credentials that apt is set up with are used. The digest in the lock file decides.
fetch() {
	local dest=$cache/deps/src/$2 mirror pool
	has_sha256 "$dest" "$3" && return
	for mirror in $(mirrors); do
		for pool in pool/main pool/updates/main; do
			echo "trying $mirror/$pool/${1:0:1}/$1/$2"
			/usr/lib/apt/apt-helper -o APT::Sandbox::User=root download-file \
				"$mirror/$pool/${1:0:1}/$1/${2//+/%2b}" "$dest.part" "SHA256:$3" || continue
			has_sha256 "$dest.part" "$3" || continue
			mv "$dest.part" "$dest"
			return
		done
	done
	return 1
}

fetch_all() {
	local name version file sha256
	mkdir -p "$cache/deps/src" || return
	while read -r name version file sha256; do
		fetch "$name" "$file" "$sha256" || {
			echo "no mirror has $file ($name $version) with SHA-256 $sha256"
			return 1
		}
	done < <(lock_lines)
}

# signed_index FILE: what the suite holds now, one "name version file sha256" a line into FILE.
# An apt configuration of its own keeps the suite away from the machine's; signatures are checked
# against Debian's keyring as always.
signed_index() {
	local dir=$work/apt mirror name apt
	local keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial" || return
	for mirror in $(mirrors); do
		case $mirror in
		*security*) echo "deb-src [signed-by=$keyring] $mirror $deps_suite-security main" ;;
		*) echo "deb-src [signed-by=$keyring] $mirror $deps_suite main" ;;
		esac
	done >"$dir/sources.list"
	apt=(-o "Dir::Etc::SourceList=$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null
		-o "Dir::State::Lists=$dir/lists" -o "Dir::Cache=$dir/cache" -o APT::Sandbox::User=root)
	# One unreachable mirror of several is no reason to give up: what was read is verified.
	apt-get "${apt[@]}" update || true
	for name in $(lock_lines | awk '!seen[$1]++ { print $1 }'); do
		apt-cache "${apt[@]}" showsrc --only-source "$name" || return
	done | awk '
		/^Package: / { name = $2 }
		/^Version: / { version = $2 }
		/^[^ ]/ { sums = /^Checksums-Sha256:/ }
		sums && $3 ~ /(\.orig|\.debian)\.tar\.[a-z0-9]+$/ { print name, version, $3, $1 }
	' | sort -u >"$1"
	[ -s "$1" ]
}

# relock [same-upstream]: writes the newest versions of the signed index to the lock file. With
# same-upstream it does so only if nothing but Debian's patch set differs.
relock() {
	local mode=${1:-any} index=$work/index new=$work/deps.lock name version best file sha256
	signed_index "$index" || {
		echo "cannot read the signed package index of $deps_suite"
		return 1
	}
	grep '^#' "$deps_lock" >"$new"
	for name in $(lock_lines | awk '!seen[$1]++ { print $1 }'); do
		best=
		while read -r version; do
			if [ -z "$best" ] || dpkg --compare-versions "$version" gt "$best"; then
				best=$version
			fi
		done < <(awk -v name="$name" '$1 == name { print $2 }' "$index")
		[ -n "$best" ] || { echo "$deps_suite has no $name"; return 1; }
		# The original source first, then Debian's patches.
		awk -v name="$name" -v version="$best" '$1 == name && $2 == version' "$index" | sort -r -k 3 |
			while read -r name version file sha256; do
				printf '%-8s %-18s %-39s %s\n' "$name" "$version" "$file" "$sha256"
			done >>"$new"
	done
	if [ "$mode" = same-upstream ] &&
		! diff <(lock_lines | grep -F .orig.tar | awk '{ print $3, $4 }') \
			<(grep -F .orig.tar "$new" | awk '{ print $3, $4 }'); then
		echo "$deps_suite has another upstream version: not taken without being asked"
		return 1
	fi
	# In place, so that the file keeps its owner.
	cmp -s "$new" "$deps_lock" || cat "$new" >"$deps_lock"
}

# unpack NAME DIR: the original source with Debian's patches applied, all or nothing.
unpack() {
	local name version file sha256 patch
	mkdir -p "$2" || return
	while read -r name version file sha256; do
		[ "$name" = "$1" ] || continue
		has_sha256 "$cache/deps/src/$file" "$sha256" || { echo "$file has changed on disk"; return 1; }
		case $file in
		*.orig.tar.*) tar -xf "$cache/deps/src/$file" -C "$2" --strip-components=1 ;;
		*) tar -xf "$cache/deps/src/$file" -C "$2" ;;
		esac || return
	done < <(lock_lines)
	while read -r patch _; do
		case $patch in '' | '#'*) continue ;; esac
		echo "patch $patch"
		patch -d "$2" -p1 --batch --fuzz=0 <"$2/debian/patches/$patch" || return
	done <"$2/debian/patches/series"
}

build_wolfssl() {
	unpack wolfssl "$work/wolfssl" && cd "$work/wolfssl" &&
		autoreconf -fi &&
		CC=gcc ./configure --prefix="$work/prefix" "${wolfssl_flags[@]}" &&
		make -j "$(nproc)" && make install
}

build_ngtcp2() {
	unpack ngtcp2 "$work/ngtcp2" && cd "$work/ngtcp2" &&
		{ [ -x configure ] || autoreconf -fi; } &&
		CC=gcc PKG_CONFIG_PATH=$work/prefix/lib/pkgconfig \
			./configure --prefix="$work/prefix" "${ngtcp2_flags[@]}" &&
		make -j "$(nproc)" && make install
}

# Libraries, headers and pkg-config files are what stays; the latter find the rest by where they
# themselves are, so that the prefix can be moved into place.
finish_prefix() {
	local lib
	for lib in wolfssl ngtcp2 ngtcp2_crypto_wolfssl; do
		[ -f "$work/prefix/lib/lib$lib.a" ] || { echo "lib$lib.a was not built"; return 1; }
	done
	# shellcheck disable=SC2016 # ${pcfiledir} is pkg-config's variable
	rm -rf "$work/prefix/bin" "$work/prefix/share" "$work/prefix"/lib/*.la &&
		sed -i 's|^prefix=.*|prefix=${pcfiledir}/../..|' "$work/prefix"/lib/pkgconfig/*.pc &&
		lock_lines >"$work/prefix/versions" &&
		mv -T "$work/prefix" "$prefix"
}
