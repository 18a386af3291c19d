/* Floats: five bodies under gravity; nearly every result is stored at once. */
#include "kernel.h"

typedef struct {
    double x, y, z, vx, vy, vz, mass;
} Body;

static Body bodies[5] = {
    {0, 0, 0, 0, 0, 0, 39.47841760435743},
    {4.841431442464721, -1.1603200440274284, -0.10362204447112311, 0.606326392995832, 2.81198684491626, -0.02521836165988763, 0.03769367487038949},
    {8.34336671824458, 4.124798564124305, -0.4035234171143214, -1.0107743461787924, 1.8256623712304119, 0.008415761376584154, 0.011286326131968767},
    {12.894369562139131, -15.111151401698631, -0.22330757889265573, 1.0827910064415354, 0.8687130181696082, -0.010832637401363636, 0.0017237240570597112},
    {15.379697114850917, -25.919314609987964, 0.17925877295037118, 0.979090732243898, 0.5946989986476762, -0.034755955504078104, 0.0020336868699246304}};

static u64 run(u32 rounds) {
    const double dt = 0.001;
    for (u32 round = 0; round < rounds * 100; round++) {
        for (int i = 0; i < 5; i++)
            for (int j = i + 1; j < 5; j++) {
                Body *p = &bodies[i], *q = &bodies[j];
                double dx = p->x - q->x, dy = p->y - q->y, dz = p->z - q->z;
                double square = dx * dx + dy * dy + dz * dz;
                double pull = dt / (square * __builtin_sqrt(square));
                p->vx -= dx * q->mass * pull, p->vy -= dy * q->mass * pull, p->vz -= dz * q->mass * pull;
                q->vx += dx * p->mass * pull, q->vy += dy * p->mass * pull, q->vz += dz * p->mass * pull;
            }
        for (int i = 0; i < 5; i++) {
            Body *p = &bodies[i];
            p->x += dt * p->vx, p->y += dt * p->vy, p->z += dt * p->vz;
        }
    }
    return bits(bodies[0].x);
}
