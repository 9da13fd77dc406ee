"""The query families of the senderos set: SQL with slots, and question wordings.

    especies_en_ruta, slots {ruta: Peñafría}:
        ¿Qué especies se han visto en Peñafría?
        SELECT DISTINCT e.nombre FROM avistamientos a JOIN ... WHERE r.nombre = 'Peñafría'

Questions that the database cannot answer (weather, prices, telephones, transport) have the SQL
`SELECT NULL`.
"""

from datasets_src.generators.senderos.family import Family
from datasets_src.generators.senderos.route_families import ROUTE_FAMILIES

NULL_SQL = "SELECT NULL"
_SIGHTED = "FROM avistamientos a JOIN especies e ON e.id = a.especie_id"
_ON_ROUTES = f"{_SIGHTED} JOIN rutas r ON r.id = a.ruta_id"
FAMILIES = (
    *ROUTE_FAMILIES,
    Family(
        "refugios_altos",
        {"comarca": "comarca", "altitud": "altitud"},
        "SELECT nombre FROM refugios WHERE comarca = '{comarca}' AND altitud > {altitud}",
        (
            "¿Qué refugios de {comarca} están por encima de {altitud} m?",
            "Refugios de {comarca} a más de {altitud} m",
            "Lista los refugios situados a más de {altitud} m en {comarca}",
            "En {comarca}, ¿qué refugios superan los {altitud} m?",
            "Dime los refugios de {comarca} con altitud mayor que {altitud} m",
            "Lista los refugios de {comarca} por encima de {altitud} m",
            "¿Qué refugios de {comarca} superan los {altitud} m?",
        ),
    ),
    Family(
        "plazas_comarca",
        {"comarca": "comarca"},
        "SELECT SUM(plazas) FROM refugios WHERE comarca = '{comarca}'",
        (
            "¿Cuántas plazas suman los refugios de {comarca}?",
            "Total de plazas de los refugios de {comarca}",
            "Dime las plazas que hay en todos los refugios de {comarca}",
            "Suma las plazas de los refugios de {comarca}",
            "En {comarca}, ¿cuántas plazas de refugio hay en total?",
            "Dime cuántas plazas suman los refugios de {comarca}",
            "Total de plazas en todos los refugios de {comarca}",
        ),
    ),
    Family(
        "dato_refugio",
        {"dato": "dato", "refugio": "refugio"},
        "SELECT {dato} FROM refugios WHERE nombre = '{refugio}'",
        (
            "¿Qué {dato} tiene el refugio {refugio}?",
            "{dato} del refugio {refugio}",
            "Consulta {dato} del refugio {refugio}",
            "Dime qué {dato} tiene el refugio {refugio}",
            "Para el refugio {refugio}, ¿qué {dato} figura?",
            "Dime {dato} del refugio {refugio}",
            "¿Qué {dato} figura para el refugio {refugio}?",
        ),
    ),
    Family(
        "comarcas_con_mas",
        {"tabla": "tabla", "cuantas": "cuantas"},
        "SELECT comarca FROM {tabla} GROUP BY comarca HAVING COUNT(*) > {cuantas}",
        (
            "¿Qué comarcas tienen más de {cuantas} {tabla}?",
            "Comarcas con más de {cuantas} {tabla}",
            "Lista las comarcas donde hay más de {cuantas} {tabla}",
            "Dime las comarcas que superan los {cuantas} {tabla}",
            "¿En qué comarcas se cuentan más de {cuantas} {tabla}?",
            "Lista las comarcas con más de {cuantas} {tabla}",
            "¿Qué comarcas superan los {cuantas} {tabla}?",
        ),
    ),
    Family(
        "especies_grupo",
        {"grupo": "grupo", "amparo": "amparo"},
        "SELECT nombre FROM especies WHERE grupo = '{grupo}' AND protegida = {amparo}",
        (
            "¿Qué especies de {grupo} están {amparo}?",
            "Especies de {grupo} {amparo}",
            "Lista las especies {amparo} de {grupo}",
            "Dime el nombre de especies de {grupo} {amparo}",
            "Entre las especies de {grupo}, ¿cuáles son las que están {amparo}?",
            "Lista las especies de {grupo} que están {amparo}",
            "¿Cuáles son las especies {amparo} de {grupo}?",
        ),
    ),
    Family(
        "ejemplares_anio",
        {"especie": "especie", "anio": "anio"},
        "SELECT SUM(a.ejemplares) "
        + _SIGHTED
        + " WHERE e.nombre = '{especie}' AND a.anio = {anio}",
        (
            "¿Cuántos ejemplares de {especie} se vieron en {anio}?",
            "Ejemplares de {especie} en {anio}",
            "Suma los ejemplares de {especie} observados en {anio}",
            "En {anio}, ¿cuántos ejemplares de {especie} se anotaron?",
            "Dime el total de ejemplares de {especie} del año {anio}",
            "¿Cuántos ejemplares de {especie} se anotaron en {anio}?",
            "Dime el total de ejemplares de {especie} en {anio}",
        ),
    ),
    Family(
        "avistamientos_por_anio",
        {"especie": "especie"},
        "SELECT a.anio, COUNT(*) " + _SIGHTED + " WHERE e.nombre = '{especie}' GROUP BY a.anio",
        (
            "¿Cuántos avistamientos de {especie} hay por año?",
            "Avistamientos de {especie} por año",
            "Cuenta por año los avistamientos de {especie}",
            "Número de avistamientos de {especie} en cada año",
            "Para cada año, di cuántos avistamientos hubo de {especie}",
            "Número de avistamientos de {especie} por año",
            "¿Cuántos avistamientos hubo de {especie} en cada año?",
        ),
    ),
    Family(
        "especies_en_ruta",
        {"ruta": "ruta"},
        "SELECT DISTINCT e.nombre " + _ON_ROUTES + " WHERE r.nombre = '{ruta}'",
        (
            "¿Qué especies se han visto en la ruta {ruta}?",
            "Especies vistas en la ruta {ruta}",
            "Lista las especies observadas en la ruta {ruta}",
            "¿Qué especies puedo ver si hago la ruta {ruta}?",
            "Dime las especies que se han observado en la ruta {ruta}",
            "Lista las especies vistas en la ruta {ruta}",
            "¿Qué especies se han observado en la ruta {ruta}?",
        ),
    ),
    Family(
        "rutas_con_especie",
        {"especie": "especie"},
        "SELECT DISTINCT r.nombre " + _ON_ROUTES + " WHERE e.nombre = '{especie}'",
        (
            "¿En qué rutas se ha visto {especie}?",
            "Rutas donde hay {especie}",
            "Lista las rutas en las que se observó {especie}",
            "¿Por qué rutas voy para ver {especie}?",
            "Dime rutas con algún avistamiento de {especie}",
            "Dime en qué rutas se ha visto {especie}",
            "Lista las rutas donde se observó {especie}",
        ),
    ),
    Family(
        "fuera_tiempo",
        {"comarca": "comarca", "dia": "dia"},
        NULL_SQL,
        (
            "¿Qué tiempo hará {dia} en {comarca}?",
            "¿Lloverá {dia} en {comarca}?",
            "Previsión del tiempo para {dia} en {comarca}",
            "¿Hace falta paraguas {dia} en {comarca}?",
            "Dime si {dia} va a nevar en {comarca}",
            "¿Qué tiempo hará en {comarca} {dia}?",
            "Dime si lloverá {dia} en {comarca}",
        ),
    ),
    Family(
        "fuera_precio",
        {"refugio": "refugio"},
        NULL_SQL,
        (
            "¿Cuánto cuesta dormir en el refugio {refugio}?",
            "Precio de la noche en el refugio {refugio}",
            "¿Qué precio tiene la cena en el refugio {refugio}?",
            "Tarifas del refugio {refugio}",
            "Dime cuánto se paga por noche en el refugio {refugio}",
            "¿Qué precio tiene la noche en el refugio {refugio}?",
            "Dime cuánto cuesta dormir en el refugio {refugio}",
        ),
    ),
    Family(
        "fuera_contacto",
        {"refugio": "refugio"},
        NULL_SQL,
        (
            "¿Cuál es el teléfono del refugio {refugio}?",
            "Teléfono del refugio {refugio}",
            "¿Cómo puedo llamar al refugio {refugio}?",
            "Dame el correo electrónico del refugio {refugio}",
            "¿Quién es el guarda del refugio {refugio}?",
            "Dame el teléfono del refugio {refugio}",
            "¿Cuál es el correo electrónico del refugio {refugio}?",
        ),
    ),
    Family(
        "fuera_transporte",
        {"ruta": "ruta"},
        NULL_SQL,
        (
            "¿Qué autobús llega a la ruta {ruta}?",
            "¿Dónde puedo aparcar para hacer la ruta {ruta}?",
            "Horario del autobús a la ruta {ruta}",
            "¿Cómo llego en coche a la ruta {ruta}?",
            "¿Hay aparcamiento al empezar la ruta {ruta}?",
            "¿Dónde puedo aparcar en la ruta {ruta}?",
            "¿Cómo llego en autobús a la ruta {ruta}?",
        ),
    ),
)
