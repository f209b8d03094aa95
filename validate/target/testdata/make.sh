#!/bin/sh
# Remakes the small images beside this file, which the unit tests read without
# having mke2fs. Needs root (device nodes, capabilities), e2fsprogs, dosfstools,
# mtools, fdisk and qemu-utils. What the tests expect to find is written here and nowhere else.
set -eu
umask 022
here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
t=$tmp/tree
mkdir -p "$t/etc/kubernetes" "$t/usr/bin" "$t/dev" "$t/a/b/c" "$t/many"
echo node >"$t/etc/hostname"
echo inside >"$t/etc/shadow"
ln -s /etc/shadow "$t/etc/shadow-link"
ln -s ../../../../../etc/shadow "$t/etc/up"
ln -s loop-b "$t/etc/loop-a"
ln -s loop-a "$t/etc/loop-b"
ln -s nowhere "$t/etc/dangling"
ln -s . "$t/etc/here"
ln -s "$(printf '%050d' 0 | sed 's/0/.\//g')hostname" "$t/etc/slow"
ln -s usr/bin "$t/bin"
printf '\177ELF' >"$t/usr/bin/su"
chown 12:70000 "$t/usr/bin/su"
chmod 4755 "$t/usr/bin/su"
cp "$t/usr/bin/su" "$t/usr/bin/ping"
chmod 755 "$t/usr/bin/ping"
setcap cap_net_raw+ep "$t/usr/bin/ping"
ln "$t/usr/bin/ping" "$t/usr/bin/ping6"
mkfifo "$t/dev/pipe"
mknod "$t/dev/null" c 1 3
mknod "$t/dev/disk" b 259 70000
truncate -s 1T "$t/huge"
# Data between holes, in more pieces than an inode has room for.
i=0
while [ $i -lt 20 ]; do
    printf 'piece%03d' $i | dd of="$t/holes" bs=1 seek=$((i * 5000)) conv=notrunc status=none
    i=$((i + 1))
done
truncate -s 120000 "$t/holes"
i=0
while [ $i -lt 100 ]; do
    echo $i >"$t/many/a-name-of-some-length-$i"
    i=$((i + 1))
done
find "$t" -exec touch -h -d @1700000000 {} +

ext() { # name, type, features, size
    rm -f "$tmp/img"
    E2FSPROGS_FAKE_TIME=1700000000 mke2fs -q -t "$2" -b 1024 -I 256 -N 192 -m 0 -O "$3" -L "$1" \
        -U 11111111-2222-3333-4444-555555555555 -d "$t" "$tmp/img" "$4"
    # Large directories get their index from e2fsck.
    E2FSPROGS_FAKE_TIME=1700000000 e2fsck -fyD "$tmp/img" >/dev/null || [ $? -eq 1 ]
    gzip -9n <"$tmp/img" >"$here/$1.img.gz"
}
ext ext4 ext4 ^has_journal,^resize_inode 1M
ext metabg ext4 ^has_journal,^resize_inode,meta_bg,ea_inode 1M
rm "$t/huge" # 1 TiB does not fit a block map; inline_data makes mke2fs cut a hole at the end
truncate -s 95232 "$t/holes"
ext inline ext4 ^has_journal,^resize_inode,inline_data 1M
ext ext2 ext2 ^resize_inode 1M

mkdir -p "$tmp/esp/EFI/BOOT"
printf 'MZ' >"$tmp/esp/EFI/BOOT/BOOTX64.EFI"
i=0
while [ $i -lt 2000 ]; do printf '%08d' $i; i=$((i + 1)); done >"$tmp/esp/EFI/A long name.conf"
for bits in 12 16; do
    rm -f "$tmp/img"
    truncate -s $((bits == 12 ? 262144 : 2228224)) "$tmp/img"
    mkfs.fat -F $bits -s 1 -i 12345678 -n ESP "$tmp/img" >/dev/null
    mcopy -s -m -i "$tmp/img" "$tmp/esp/EFI" ::
    gzip -9n <"$tmp/img" >"$here/fat$bits.img.gz"
done

# A disk of an ESP (fat12) and a root (ext4), and an image on top of it.
cd "$tmp"
truncate -s 2M disk.raw
sfdisk -q disk.raw <<EOF
label: gpt
label-id: 22222222-3333-4444-5555-666666666666
first-lba: 64
start=64, size=512, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=ESP, uuid=33333333-4444-5555-6666-777777777777
start=1024, size=2048, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=root, uuid=44444444-5555-6666-7777-888888888888
EOF
zcat "$here/fat12.img.gz" | dd of=disk.raw bs=512 seek=64 conv=notrunc status=none
zcat "$here/ext4.img.gz" | dd of=disk.raw bs=512 seek=1024 conv=notrunc status=none
gzip -9n <disk.raw >"$here/disk.raw.gz"
rm -f "$here/disk.qcow2" "$here/overlay.qcow2"
qemu-img convert -q -c -O qcow2 -o compression_type=zstd,cluster_size=4k disk.raw "$here/disk.qcow2"
cd "$here"
qemu-img create -q -f qcow2 -b disk.qcow2 -F qcow2 -o cluster_size=512 overlay.qcow2
ls -l "$here"
