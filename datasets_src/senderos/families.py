"""The query families of the senderos set: SQL with slots, and the ways to ask for it.

    especies_en_ruta, slots {ruta: Paso del Molino}:
        ¿Qué especies se han visto en Paso del Molino?
        SELECT DISTINCT e.nombre FROM avistamientos a JOIN ... WHERE r.nombre = 'Paso del Molino'

What the database cannot answer (weather, prices, telephones, transport) is `SELECT NULL`.
"""

from datasets_src.senderos.family import Family
from datasets_src.senderos.route_families import ROUTE_FAMILIES

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
            "¿Qué refugios hay en {comarca} a más de {altitud} m?",
            "Enséñame los refugios de {comarca} por encima de {altitud} m",
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
            "¿Cuántas plazas hay entre todos los refugios de {comarca}?",
            "Suma total de plazas en los refugios de {comarca}",
        ),
    ),
    Family(
        "dato_refugio",
        {"dato": "dato", "refugio": "refugio"},
        "SELECT {dato} FROM refugios WHERE nombre = '{refugio}'",
        (
            "¿Cuál es el dato de {dato} de {refugio}?",
            "{dato} de {refugio}",
            "Consulta {dato} de {refugio}",
            "Dime qué {dato} tiene {refugio}",
            "Para {refugio}, ¿qué {dato} figura?",
            "¿Qué {dato} tiene {refugio}?",
            "Dame el dato de {dato} que figura para {refugio}",
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
            "¿Qué comarcas superan los {cuantas} {tabla}?",
            "Enséñame las comarcas con más de {cuantas} {tabla}",
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
            "Dime el nombre de las {grupo} {amparo}",
            "Entre las {grupo}, ¿qué especies siguen {amparo}?",
            "¿Qué {grupo} hay {amparo}?",
            "Enséñame las especies de {grupo} que están {amparo}",
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
            "¿Cuántos ejemplares de {especie} se observaron en {anio}?",
            "Total de ejemplares de {especie} vistos en el año {anio}",
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
            "¿Cuántos avistamientos de {especie} hubo cada año?",
            "Número de avistamientos por año de {especie}",
        ),
    ),
    Family(
        "especies_en_ruta",
        {"ruta": "ruta"},
        "SELECT DISTINCT e.nombre " + _ON_ROUTES + " WHERE r.nombre = '{ruta}'",
        (
            "¿Qué especies se han visto en {ruta}?",
            "Especies vistas en {ruta}",
            "Lista las especies observadas en la ruta {ruta}",
            "¿Qué especies puedo ver si hago {ruta}?",
            "Dime las especies que se han observado en {ruta}",
            "¿Qué especies se observaron en la ruta {ruta}?",
            "Enséñame las especies vistas en {ruta}",
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
            "¿En qué rutas se observó {especie}?",
            "Enséñame las rutas donde se ha visto {especie}",
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
            "¿Qué tiempo se espera para {dia} en {comarca}?",
            "¿Va a llover {dia} en {comarca}?",
        ),
    ),
    Family(
        "fuera_precio",
        {"refugio": "refugio"},
        NULL_SQL,
        (
            "¿Cuánto cuesta dormir en {refugio}?",
            "Precio de la noche en {refugio}",
            "¿Qué precio tiene la cena en {refugio}?",
            "Tarifas de {refugio}",
            "Dime cuánto se paga por noche en {refugio}",
            "¿Qué precio tiene dormir en {refugio}?",
            "¿Cuánto cuesta la noche en {refugio}?",
        ),
    ),
    Family(
        "fuera_contacto",
        {"refugio": "refugio"},
        NULL_SQL,
        (
            "¿Cuál es el teléfono de {refugio}?",
            "Teléfono de {refugio}",
            "¿Cómo puedo llamar a {refugio}?",
            "Dame el correo electrónico de {refugio}",
            "¿Quién es el guarda de {refugio}?",
            "¿Me das el teléfono de {refugio}?",
            "Correo electrónico o teléfono de {refugio}",
        ),
    ),
    Family(
        "fuera_transporte",
        {"ruta": "ruta"},
        NULL_SQL,
        (
            "¿Qué autobús llega a {ruta}?",
            "¿Dónde puedo aparcar para hacer {ruta}?",
            "Horario del autobús a {ruta}",
            "¿Cómo llego en coche a {ruta}?",
            "¿Hay aparcamiento al empezar {ruta}?",
            "¿Hay autobús o coche para llegar a {ruta}?",
            "¿Dónde se puede aparcar en {ruta}?",
        ),
    ),
)
