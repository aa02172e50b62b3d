# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
#
# RK_SANITIZER: --enable-sanitizer=LIST (address, undefined, thread …) and --enable-fuzz (libFuzzer, clang only).
# Both set SANITIZER_FLAGS, used to compile and to link everything; --enable-fuzz defines the conditional FUZZ.

AC_DEFUN([RK_SANITIZER], [
  AC_ARG_ENABLE([sanitizer],
    [AS_HELP_STRING([--enable-sanitizer=LIST], [build with sanitizers, as in address,undefined or thread])],
    [], [enable_sanitizer=no])
  AC_ARG_ENABLE([fuzz],
    [AS_HELP_STRING([--enable-fuzz], [build the fuzz targets with libFuzzer (needs CC=clang)])],
    [], [enable_fuzz=no])
  AS_CASE([$enable_sanitizer],
    [no], [SANITIZER_FLAGS=],
    [yes], [enable_sanitizer=address,undefined
            SANITIZER_FLAGS="-fsanitize=address,undefined"],
    [SANITIZER_FLAGS="-fsanitize=$enable_sanitizer"])
  AS_IF([test "$enable_fuzz" != no], [
    AS_IF([test -z "$SANITIZER_FLAGS"], [enable_sanitizer=address,undefined])
    SANITIZER_FLAGS="-fsanitize=fuzzer-no-link,$enable_sanitizer"])
  AS_IF([test -n "$SANITIZER_FLAGS"], [
    SANITIZER_FLAGS="$SANITIZER_FLAGS -fno-sanitize-recover=all -fno-omit-frame-pointer"
    RK_SANITIZER_CHECK])
  AC_SUBST([SANITIZER_FLAGS])
  AC_SUBST([FUZZ_ENGINE], [-fsanitize=fuzzer])
  AM_CONDITIONAL([SANITIZER], [test "$enable_sanitizer" != no])
  AM_CONDITIONAL([FUZZ], [test "$enable_fuzz" != no])
])

AC_DEFUN([RK_SANITIZER_CHECK], [
  AC_MSG_CHECKING([whether $CC links with $SANITIZER_FLAGS])
  rk_sanitizer_save_CFLAGS=$CFLAGS
  CFLAGS="$CFLAGS $SANITIZER_FLAGS"
  AC_LINK_IFELSE([AC_LANG_PROGRAM()], [AC_MSG_RESULT([yes])],
    [AC_MSG_RESULT([no])
     AC_MSG_ERROR([$CC cannot build with $SANITIZER_FLAGS: is its run-time library installed?])])
  CFLAGS=$rk_sanitizer_save_CFLAGS
])
