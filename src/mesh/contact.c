/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Where a node can be reached: the interfaces that Open MPI may use, in the same words (btl_tcp_if_include and
 * btl_tcp_if_exclude: names, or networks as 10.0.0.0/8). */

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "mesh/links.h"

#define TRY_US        500000 /* for one address */
#define UNANSWERED_MS 350    /* after the first retransmission, that is 200 ms or more later, a link ends */

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

static bool is_mapped(const uint8_t address[16])
{
    return !memcmp(address, mapped, sizeof mapped);
}

/* An interface's address; false: it has none of a kind that we use. */
static bool address_of(const struct ifaddrs *interface, uint8_t address[16])
{
    if (!interface->ifa_addr || !(interface->ifa_flags & IFF_UP))
        return false;
    if (interface->ifa_addr->sa_family == AF_INET) {
        memcpy(address, mapped, sizeof mapped);
        memcpy(address + 12, &((const struct sockaddr_in *)(const void *)interface->ifa_addr)->sin_addr, 4);
        return true;
    }
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)interface->ifa_addr;
    if (six->sin6_family != AF_INET6 || IN6_IS_ADDR_LINKLOCAL(&six->sin6_addr))
        return false;
    memcpy(address, &six->sin6_addr, 16);
    return true;
}

/* Whether an address is of the network "10.1.0.0/16". */
static bool is_of_network(const uint8_t address[16], const char *network)
{
    char text[64];
    unsigned bits;
    uint32_t wanted, here;
    if (!is_mapped(address) || sscanf(network, "%63[^/]/%u", text, &bits) != 2 || bits > 32 ||
        inet_pton(AF_INET, text, &wanted) != 1)
        return false;
    memcpy(&here, address + 12, 4);
    uint32_t mask = bits ? htonl(UINT32_MAX << (32 - bits)) : 0;
    return (here & mask) == (wanted & mask);
}

/* Whether an interface is in one of Open MPI's lists. */
static bool is_listed(const char *list, const char *name, const uint8_t address[16])
{
    char copy[512], *rest = copy;
    const char *item;
    snprintf(copy, sizeof copy, "%s", list);
    while ((item = strsep(&rest, ",")))
        if (!strcmp(item, name) || is_of_network(address, item))
            return true;
    return false;
}

static bool may_use(const struct ifaddrs *interface, const uint8_t address[16])
{
    const char *include = getenv(RK_TCP_INCLUDE), *exclude = getenv(RK_TCP_EXCLUDE);
    if (!include)
        include = getenv("OMPI_MCA_oob_tcp_if_include");
    if (include && *include)
        return is_listed(include, interface->ifa_name, address);
    return !exclude || !is_listed(exclude, interface->ifa_name, address);
}

static void add_addresses(struct rk_contact *contact, const struct ifaddrs *interfaces, bool loopback)
{
    uint8_t address[16];
    for (const struct ifaddrs *one = interfaces; one && contact->count < RK_ADDRESSES; one = one->ifa_next) {
        if (!address_of(one, address) || !(one->ifa_flags & IFF_LOOPBACK) == loopback)
            continue;
        if (loopback || may_use(one, address))
            memcpy(contact->addresses[contact->count++], address, 16);
    }
}

bool rk_contact_is_alone(char name[RK_INTERFACE])
{
    struct ifaddrs *interfaces = NULL;
    uint8_t address[16];
    bool others = getifaddrs(&interfaces) != 0;
    *name = '\0';
    for (const struct ifaddrs *one = interfaces; one; one = one->ifa_next) {
        if (!address_of(one, address))
            continue;
        if (one->ifa_flags & IFF_LOOPBACK)
            snprintf(name, RK_INTERFACE, "%s", one->ifa_name);
        else
            others = true;
    }
    if (interfaces)
        freeifaddrs(interfaces);
    return !others && *name;
}

static int listen_at(int family, uint16_t *port)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    struct sockaddr_in four = {.sin_family = AF_INET};
    socklen_t size = family == AF_INET6 ? sizeof six : sizeof four;
    struct sockaddr *address = family == AF_INET6 ? (struct sockaddr *)&six : (struct sockaddr *)&four;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), both = 0;
    if (fd >= 0 && family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &both, sizeof both);
    if (fd < 0 || bind(fd, address, size) || listen(fd, SOMAXCONN) || getsockname(fd, address, &size)) {
        rk_fd_close(&fd);
        return -1;
    }
    *port = ntohs(family == AF_INET6 ? six.sin6_port : four.sin_port);
    return fd;
}

int rk_contact_listen(struct rk_contact *contact)
{
    struct ifaddrs *interfaces = NULL;
    *contact = (struct rk_contact){0};
    if (getifaddrs(&interfaces)) {
        rk_error_system("cannot list the network's interfaces");
        return -1;
    }
    add_addresses(contact, interfaces, false);
    add_addresses(contact, interfaces, true); /* last: of use to ranks of this host alone */
    freeifaddrs(interfaces);
    int fd = listen_at(AF_INET6, &contact->port);
    if (fd < 0)
        fd = listen_at(AF_INET, &contact->port);
    if (fd < 0)
        rk_error_system("cannot listen for other nodes");
    return fd;
}

static bool is_loopback(const uint8_t address[16])
{
    static const uint8_t six[16] = {[15] = 1};
    return is_mapped(address) ? address[12] == 127 : !memcmp(address, six, 16);
}

static int connect_to(const uint8_t address[16], uint16_t port, int64_t deadline_us)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
    bool is_four = is_mapped(address);
    memcpy(&six.sin6_addr, address, 16);
    memcpy(&four.sin_addr, address + 12, 4);
    int fd = socket(is_four ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), failure = 0;
    socklen_t size = sizeof failure;
    if (fd < 0)
        return -1;
    if (connect(fd, is_four ? (struct sockaddr *)&four : (struct sockaddr *)&six, is_four ? sizeof four : sizeof six) &&
        errno != EINPROGRESS)
        failure = errno;
    else if (!rk_fd_wait(fd, POLLOUT, deadline_us))
        failure = ETIMEDOUT;
    else
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &size);
    if (failure)
        rk_fd_close(&fd);
    errno = failure;
    return fd;
}

void rk_contact_tune(int fd)
{
    const int on = 1;
    const unsigned limit = UNANSWERED_MS;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit, sizeof limit);
}

int rk_contact_connect(const struct rk_contact *contact, bool near, int64_t deadline_us)
{
    char text[INET6_ADDRSTRLEN] = "";
    errno = ENETUNREACH;
    for (int i = 0; i < contact->count; i++) {
        const uint8_t *address = contact->addresses[i];
        int64_t until = rk_now_us() + TRY_US;
        if (is_loopback(address) && !near)
            continue;
        inet_ntop(is_mapped(address) ? AF_INET : AF_INET6, is_mapped(address) ? address + 12 : address, text,
                  sizeof text);
        int fd = connect_to(address, contact->port, until < deadline_us ? until : deadline_us);
        if (fd >= 0) {
            rk_contact_tune(fd);
            return fd;
        }
    }
    rk_error_system("cannot connect to %s port %u", *text ? text : "a host without an address", contact->port);
    return -1;
}
