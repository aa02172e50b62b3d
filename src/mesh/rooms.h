/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Rooms: memory that rank 0 receives large payloads into and that the ranks of its node read in place, so that nobody
 * copies them.
 *
 * A room is memory without a name (memfd_create(2)), which others open through /proc. Its first page counts who still
 * looks into it; behind that lies the payload. Rooms are used again and again, because taking fresh pages costs as much
 * as filling them. Other ranks see them privately: what one writes there no other one sees, and it is gone with the
 * payload. */

#ifndef RK_MESH_ROOMS_H
#define RK_MESH_ROOMS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct rk_mesh;

#define RK_ROOMS         16         /* at rank 0 at most; payloads beyond them go other ways */
#define RK_ROOM_REST_US  10000000   /* a room that nobody has used for so long gives its pages back */
#define RK_ROOM_POPULATE (1u << 20) /* bytes from which on the pages are looked up in one go */

/* Bytes of a payload from which on rank 0's main thread has a view of its own: giving that up interrupts the IO thread.
 */
#define RK_ROOM_OWN_VIEW (4u << 20)

/* How another rank finds a room. id 0: none. */
struct rk_room_name {
    uint64_t id, size; /* size: bytes behind its first page */
    int32_t fd;        /* of rank 0's process */
    uint32_t reserved;
};

/* Finds out whether all ranks can look into rank 0's rooms: mesh->rooms_work. After deaths, the rooms that there are
 * are not used again, as the dead may have looked into them. Collective over mesh->local. */
void rk_rooms_open(struct rk_mesh *mesh);

/* Rank 0: in which room these bytes lie. */
struct rk_room_name rk_room_of(const uint8_t *bytes);

/* Another rank: the payload in that room of rank 0's, in place or copied. NULL: too many are held already. Ownership of
 * the former: rk_room_leave. */
uint8_t *rk_room_enter(const struct rk_mesh *mesh, const struct rk_room_name *name);
/* False: it could not be read; sets the last error. */
bool rk_room_copy(const struct rk_mesh *mesh, const struct rk_room_name *name, uint8_t *bytes, uint64_t size);
void rk_room_leave(void *context, uint8_t *bytes); /* the context is not used. Any thread */

/* Another rank: puts the pieces there, one behind the other from `offset` on. False: it could not. One thread at a
 * time.
 */
bool rk_room_write(const struct rk_mesh *mesh, const struct rk_room_name *name, uint64_t offset,
                   const struct iovec *pieces, size_t count);

/* Rank 0: the payload there is done with. Any thread. */
void rk_room_give(void *context, uint8_t *bytes); /* the context is not used */

/* Rank 0: as giving the payload there back, and the room is not used again: somebody may still write there. */
void rk_room_forsake(uint8_t *bytes);

/* So many bytes there will be read soon. */
void rk_room_look_up(uint8_t *bytes, uint64_t size);

#endif
